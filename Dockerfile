# Never built where edgeprune is developed, which has no container runtime: checked by reading
# only (tests/test_dockerfile.py). docs/docker.md has the commands for CPU, CUDA and JetPack.
ARG BASE=python:3.12-slim

FROM python:3.12-slim AS wheel
RUN pip install --no-cache-dir build
WORKDIR /source
COPY . .
RUN python -m build --wheel --outdir /wheels

FROM ${BASE}
ARG EXTRAS=demo
# pip: install what of torch and torchvision the base image lacks. image: insist that it has both.
ARG TORCH=pip
ARG INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1
RUN python3 -m pip --version || { apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*; }
COPY --from=wheel /wheels /wheels
# What the base image brings is pinned, so that pip never replaces JetPack's torch.
RUN python3 -m pip list --format=freeze | { grep -E '^(torch|torchvision)==' || true; } > /pins \
    && { [ "$TORCH" = pip ] || [ "$(wc -l < /pins)" = 2 ]; } \
    && python3 -m pip install ${INDEX:+--extra-index-url "$INDEX"} --constraint /pins \
       "$(ls /wheels/*.whl)[$EXTRAS]" \
    && rm -r /wheels /pins
RUN useradd --create-home edgeprune
USER edgeprune
WORKDIR /home/edgeprune
ENTRYPOINT ["edgeprune"]
