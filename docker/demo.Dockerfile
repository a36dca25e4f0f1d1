# To try it, without ROS: `vloc` with all that maps offline. No PyTorch.
#
#   docker build -f docker/demo.Dockerfile -t vloc_ros:demo .
#   mkdir -p out && docker run --rm -v "$PWD/out:/out" --user "$(id -u):$(id -g)" vloc_ros:demo
FROM python:3.11-slim-bookworm
WORKDIR /src
COPY . .
RUN python3 -m pip install --no-cache-dir ".[mapping,evaluation]"
WORKDIR /out
# for any user: where libraries keep what they compute
ENV HOME=/tmp
USER 1000
CMD ["vloc", "demo", "--out", "/out/demo"]
