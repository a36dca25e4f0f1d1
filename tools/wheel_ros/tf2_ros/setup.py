"""The stand-in for tf2_ros, installed by `make setup` where no real tf2_ros can be imported, and nowhere else."""

from setuptools import setup

setup(
    name="vloc-wheel-ros-tf2",
    version="0.1.0",
    description="The part of tf2_ros that vloc_ros's nodes call, for an environment whose ROS 2 comes from wheels",
    license="Apache-2.0",
    packages=["tf2_ros"],
    python_requires=">=3.10",
    zip_safe=False,
)
