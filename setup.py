"""Builds the native kernels where a C++ compiler is at hand; without one the reference path is installed alone."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "privinf.protocols.kernels._native",
            sources=["protocols/kernels/native.cpp"],
            depends=sorted(glob("protocols/kernels/*.h")),
            language="c++",
            # CPU features are chosen at run time, so no -march here. What parties compute in doubles must be the same
            # on every machine: a product and a sum must not become one instruction that rounds once.
            extra_compile_args=[
                "-O3",
                "-std=c++17",
                "-ffp-contract=off",
                "-fno-math-errno",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                "-pthread",
            ],
            extra_link_args=["-pthread"],
            optional=True,
        )
    ]
)
