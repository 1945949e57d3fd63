"""How a host's step is read: which prediction meets which truth in its own loss, and from which keypoints.

One step, in the order of the files: `watch` follows what each tensor is made from, between the calls of networks that
`calls` records; where a prediction and a truth are compared, `meeting` notes the pair; `choice` takes the pair that the
loss is about, `keypoints` finds what the prediction was made from, and `frontier` the place at which two forces on it
can be compared. `unseen` reads a loss that cannot be followed, `report` says in one line what was found, and `replay`
runs the recorded call once more.
"""
