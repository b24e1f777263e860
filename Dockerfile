FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin app

WORKDIR /app

# Install only wheels, so that no compiler is needed. Then remove pip.
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt \
    && pip uninstall --yes pip

# Owned by root, so the process can read the code but not change it.
COPY manage.py .
COPY config config
COPY workers workers
COPY apps apps

# A number, so that an orchestrator can verify that it is not root.
USER 10001

EXPOSE 8000
CMD ["gunicorn", "config.wsgi", "--bind=0.0.0.0:8000", "--no-control-socket"]
