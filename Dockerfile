# The service, with the encoders of photographs and sentences.
FROM python:3.11-slim AS build
# Where packages are taken from beside the default: --build-arg PIP_EXTRA_INDEX_URL=... with that of PyTorch's builds for
# the CPU makes the image several times smaller.
ARG PIP_EXTRA_INDEX_URL
WORKDIR /app
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir '.[serve,images,text,tables,export]'

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 innerloop
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
USER innerloop
WORKDIR /home/innerloop
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
# SIGTERM reaches it as it is: requests that have begun are finished.
ENTRYPOINT ["innerloop", "serve"]
CMD ["--host", "0.0.0.0", "--port", "8080"]
