"""faceloss: which face-recognition loss, with which margin, on my faces, and how sure can I be?

The rooms, in the one direction in which they import:

    data -> nets -> losses -> train -> evaluate -> compare -> report -> cli

Importing ``faceloss`` imports none of them, so that ``faceloss --help`` stays instant.
"""

__version__ = "0.1.0"
