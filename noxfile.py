"""Environments that pip's extras cannot give; `.ci/run` calls them.

nox -s openvino              # builds ferlite's wheel first
nox -s openvino -- X.whl     # takes this one
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
# In place of onnxruntime. 1.24.1 also runs on processors of AMD.
MONOLITHIC = "onnxruntime-openvino==1.24.1"


@nox.session
@nox.parametrize("package", ["monolithic", "plugin"])
def openvino(session: nox.Session, package: str) -> None:
    """The installed wheel with OpenVINO; the plugin's tests skip where it finds no Intel."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["openvino"]]
    if package == "monolithic":
        needs = [MONOLITHIC, *(one for one in needs if not one.startswith("onnxruntime"))]
    # OpenCV 5 has no Haar cascades. onnx writes the networks of the tests.
    session.install(
        *needs, "opencv-python-headless<5", "pytest>=8", "pytest-timeout>=2", "onnx>=1.16"
    )
    session.install("--no-deps", *(session.posargs or ["."]))
    # Not `python -m pytest`, which would import the checkout and not what was installed.
    session.run("pytest", "-q", "-rs", "-m", "openvino", "tests/test_openvino.py")
