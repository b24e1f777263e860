"""What MySQL and MariaDB do in their own way. The rest is the ORM's, in `portable`."""
