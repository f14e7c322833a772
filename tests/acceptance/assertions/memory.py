"""Searches for a private key: in the memory of a process, and in texts.

Owns the forms in which a key can appear. A form is a list of pieces, and one piece is enough to find it. The pieces have
32 bytes and lie side by side, so any 64 consecutive bytes of a form contain a whole piece.
"""

import base64
import os
import re
import signal

from cryptography.hazmat.primitives import serialization

PIECE = 32


def pieces(value):
    return [value[start : start + PIECE] for start in range(0, len(value) - PIECE + 1, PIECE)]


def numbers(key):
    """The private numbers of an RSA key, as bytes with the highest first."""
    private = key.private_numbers()
    known = {"d": private.d, "p": private.p, "q": private.q, "dp": private.dmp1, "dq": private.dmq1, "qi": private.iqmp}
    half = key.key_size // 16
    return {name: value.to_bytes(half * 2 if name == "d" else half, "big") for name, value in known.items()}


def whole(key):
    """Every form of a key, complete: the bytes of its numbers in both orders, their base64, and the lines of its PEM."""
    found = {}
    for name, value in numbers(key).items():
        found[f"{name}, big-endian"] = [value]
        # The order of limbs on this machine.
        found[f"{name}, little-endian"] = [value[::-1]]
        # In a longer text, the letters depend on the position. The edges depend on the neighbors, so they are left out.
        texts = [base64.b64encode(bytes(before) + value)[4:-4] for before in range(3)]
        found[f"{name}, base64"] = texts + [text.translate(bytes.maketrans(b"+/", b"-_")) for text in texts]
    found["PEM"] = pem_lines(key)
    return found


def pem_lines(key):
    """The lines of the key's PEM form behind the modulus, which is public."""
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    modulus = key.private_numbers().public_numbers.n.to_bytes(key.key_size // 8, "big")
    end = der.index(modulus) + len(modulus)
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return [line for number, line in enumerate(lines) if number * 48 >= end and len(line) == 64]


def forms(key):
    """The pieces of each form."""
    return {name: [piece for text in texts for piece in pieces(text)] for name, texts in whole(key).items()}


def readable_forms(key):
    """The forms of a key in texts, which also include hexadecimal digits and lists of bytes."""
    known = forms(key)
    for name in [*(f"{number}, big-endian" for number in numbers(key)), "PEM"]:
        known[f"{name}, hexadecimal"] = [piece.hex().encode() for piece in known[name]]
        known[f"{name}, HEXADECIMAL"] = [piece.hex().upper().encode() for piece in known[name]]
        known[f"{name}, a list"] = [", ".join(map(str, piece)).encode() for piece in known[name]]
    return known


def found(known, areas):
    """The names of the forms that are in any of the areas."""
    return sorted(name for name, parts in known.items() if any(part in area for part in parts for area in areas))


def memory(process):
    """All readable and writable memory of a process, which stands still meanwhile."""
    areas = []
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with open(f"/proc/{process.pid}/maps") as maps, open(f"/proc/{process.pid}/mem", "rb", 0) as content:
            for line in maps:
                begin, end = (int(address, 16) for address in re.match("(.*?)-(.*?) ", line).groups())
                if line.split()[1].startswith("rw"):
                    areas.append(os.pread(content.fileno(), end - begin, begin))
                    assert len(areas[-1]) == end - begin, f"the kernel returned a part of {line}"
    finally:
        os.kill(process.pid, signal.SIGCONT)
    return areas
