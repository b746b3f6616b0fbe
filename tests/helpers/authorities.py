"""Authorities for certificates, made with the openssl command."""

from __future__ import annotations

import subprocess

from ied_agents.runtime.tls import TlsFiles

_CONFIG = """
[ca]
default_ca = ca_default
[ca_default]
database = {folder}/index.txt
serial = {folder}/serial
crlnumber = {folder}/crlnumber
new_certs_dir = {folder}
default_md = sha256
default_days = 30
default_crl_days = 30
policy = policy
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
[policy]
commonName = supplied
[req]
distinguished_name = dn
[dn]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
"""


class Authority:
    """An authority with its revocation list, made with the openssl command."""

    def __init__(self, folder, name):
        self.folder = folder
        folder.mkdir()
        for file, text in (("index.txt", ""), ("serial", "1000\n"), ("crlnumber", "1000\n")):
            (folder / file).write_text(text)
        (folder / "openssl.cnf").write_text(_CONFIG.format(folder=folder))
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"),
            *("-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.pem", "-extensions", "authority"),
            *("-config", "openssl.cnf"),
        )
        self.list()

    def _openssl(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.folder, check=True, capture_output=True)

    def list(self):
        """Write the revocation list anew."""
        self._openssl("ca", "-config", "openssl.cnf", "-gencrl", "-out", "crl.pem")

    def issue(self, name, *validity):
        """A certificate and its key."""
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-config", "openssl.cnf"),
        )
        self._openssl(
            *("ca", "-batch", "-notext", "-config", "openssl.cnf", "-in", f"{name}.csr", "-out", f"{name}.pem"),
            *validity,
        )
        return self.files(name)

    def files(self, name, **more):
        folder = self.folder
        return TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem", folder / "crl.pem", **more)

    def revoke(self, name):
        self._openssl("ca", "-config", "openssl.cnf", "-revoke", f"{name}.pem")
        self.list()
