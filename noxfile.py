"""Environments that pip's extras cannot give; `.ci/run` calls them.

nox -s openvino              # builds ferlite's wheel first
nox -s openvino -- X.whl     # takes this one
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
# 1.24.1 also runs on processors of AMD.
OPENVINO = "onnxruntime-openvino==1.24.1"


@nox.session
def openvino(session: nox.Session) -> None:
    """The installed wheel with onnxruntime-openvino, which takes the place of onnxruntime."""
    needs = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    others = [one for one in needs if not one.startswith("onnxruntime")]
    # OpenCV 5 has no Haar cascades. onnx writes the networks of the tests.
    session.install(
        OPENVINO,
        *others,
        "opencv-python-headless<5",
        "pytest>=8",
        "pytest-timeout>=2",
        "onnx>=1.16",
    )
    session.install("--no-deps", *(session.posargs or ["."]))
    # Not `python -m pytest`, which would import the checkout and not what was installed.
    session.run("pytest", "-q", "-m", "openvino", "tests/test_openvino.py")
