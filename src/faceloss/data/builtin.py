"""The faces that come with the package: generated heads, no photograph, no real person.

``builtin_faces.tar`` holds 160 identities x 24 images, 64 x 64 RGB JPEG, as ``p000/00.jpg``, with varying pose, light,
expression, haircut and background; a README and ``identities.csv`` (what each head was made of) lie in its root.

They are what ``faceloss synthesize`` draws as it comes (`faceloss.data.generated`), with the body model Anny (Copyright
NAVER Corp., Apache-2.0), whose body data come from MakeHuman / MPFB2 and the Face Units pack by Mika Suominen (both CC0
1.0). The images are under this package's license, Apache-2.0. What their README says of gender is the wrong way round:
the model counts from 0, male, to 1, female.
"""

from pathlib import Path

TAR = "builtin_faces.tar"


def builtin_path() -> Path:
    """Where the archive of built-in faces lies."""
    return Path(__file__).with_name(TAR)
