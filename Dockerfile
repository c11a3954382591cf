# A worker with this package and this project's plans. See docker-compose.yml for the whole stack.
FROM python:3.12-slim

WORKDIR /srv/vibe-prefect
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY vibe_prefect ./vibe_prefect
RUN pip install --no-cache-dir ".[images]" prefect-redis==0.3.0 --constraint constraints.txt

COPY CHANGELOG.md CONTRIBUTING.md prefect.yaml ./
COPY flows ./flows
RUN useradd --create-home worker && mkdir -p /srv/outputs /srv/records && chown -R worker /srv
USER worker

ENV PREFECT_INTEGRATIONS_VIBE_PREFECT_OUTPUT=/srv/outputs \
    PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE=/srv/records \
    DO_NOT_TRACK=1

# SIGTERM, which is what `docker stop` sends, ends its runs well: each can be resumed.
STOPSIGNAL SIGTERM
CMD ["vibe-prefect", "worker", "start"]
