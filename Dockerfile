FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin app

WORKDIR /app

# Wheels alone, so that no compiler is needed; and afterwards no installer is left.
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt \
    && pip uninstall --yes pip

# Owned by root: the process can read its code and cannot change it.
COPY manage.py .
COPY config config
COPY workers workers
COPY apps apps

# By number, so that an orchestrator sees that it is not root.
USER 10001

EXPOSE 8000
CMD ["gunicorn", "config.wsgi", "--bind=0.0.0.0:8000", "--no-control-socket"]
