import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ("blog", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Attachment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("file", models.FileField(db_index=True, upload_to="")),
                ("post", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="attachments", to="blog.post")),
            ],
        ),
    ]
