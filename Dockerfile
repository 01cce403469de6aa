# The service as an image: one process, its SQLite file on the volume /data.
#
#   docker build -t errand .
#   docker run --init -p 127.0.0.1:8000:8000 -v errand-data:/data -e ERRAND_API_KEYS=me:secret errand
#
# Your own tasks: mount or copy the module to /srv and name it in ERRAND_TASKS.

FROM python:3.13-slim AS builder
WORKDIR /build
# --without-pip: the builder's pip installs into the environment, so none goes along with it.
RUN python -m venv --without-pip /opt/errand
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && pip --python /opt/errand/bin/python install --no-cache-dir --constraint constraints.txt /wheels/*.whl


FROM python:3.13-slim
# A fixed uid, so that files on a mounted volume keep their owner when the image is rebuilt.
RUN groupadd --gid 10001 errand \
 && useradd --uid 10001 --gid errand --no-create-home --shell /usr/sbin/nologin errand \
 && install --directory --owner=errand --group=errand /data
COPY --from=builder /opt/errand /opt/errand
ENV PATH=/opt/errand/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ERRAND_DATABASE=sqlite:////data/errand.db \
    ERRAND_HOST=0.0.0.0
WORKDIR /srv
# After the folder has its owner: what a VOLUME holds cannot be changed by later steps.
VOLUME /data
USER 10001:10001
EXPOSE 8000
# By address and past any proxy that the environment names: the question is whether this process answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/health/live', timeout=4)"]
# Exec form: the service itself gets SIGTERM and drains; a shell in between would swallow it.
CMD ["errand", "serve"]
