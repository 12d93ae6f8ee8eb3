# codesign with everything that a study needs, in a folder laid out by `codesign init`.
#   docker build -t codesign .                                        PyTorch as PyPI has it: on Linux, a CUDA build
#   docker build -t codesign --build-arg TORCH_INDEX=ADDRESS .        of another index: https://pytorch.org/get-started
#   docker run --gpus all ...                                         the host needs the NVIDIA container toolkit
#   a study whose records stay in a volume:
#         docker run --rm -v studies:/home/codesign/study/papermill_runs codesign codesign reproduce --size nano
#   notebooks:
#         docker run --rm -p 8888:8888 codesign jupyter lab --ip 0.0.0.0 --no-browser
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
# Where PyTorch comes from, if not from the package index: CPU builds, or builds for one version of CUDA.
ARG TORCH_INDEX=
# On a GPU, Triton compiles its launchers with a C compiler.
RUN case "$TORCH_INDEX" in \
      */cpu) ;; \
      *) apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* ;; \
    esac
COPY constraints.txt /wheels/constraints.txt
# A CUDA build of PyTorch asks for a Triton of its own.
RUN sed -i '/^triton==/d' /wheels/constraints.txt
# In the layers before the wheel, so that a change of the code installs no library again.
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY --from=build /wheels/*.whl /wheels/
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/codesign-*.whl)[grid,notebooks,gpu]"

RUN useradd --create-home codesign
USER codesign
WORKDIR /home/codesign/study
RUN codesign init .
CMD ["codesign", "--help"]
