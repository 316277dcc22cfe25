"""Generated faces: heads of a body model, painted, lit and photographed by computation; no photograph, no real person.

    head      the head as plain arrays: one linear map from shape parameters to vertices; loaded once, then cached
    people    who is drawn             shots    how each picture is taken
    plan      how many pictures of whom, under which label; groups, near-twins, label noise
    raster, paint, render, camera      from a person and a shot to a JPEG
    work, synthesize                   the pictures of a set, by several processes, resumable

Every number drawn is keyed by (seed, identity, purpose, image): a picture depends on nothing but those and the
settings, not on how many others there are, in which order or by which process they are drawn. Each control acts on its
own numbers, so turning one leaves the others as they were.
"""
