"""The examples that `--help` ends with."""

EXAMPLES = """\
medscan demo
medscan scan /archive --dry-run
medscan scan /archive --detector flair.safetensors --out night.h5
medscan demo --out /tmp/demo
medscan fit flair/ --organ Brain --modality MR --out flair.safetensors
medscan fit normals/ --method patchcore --out normals.safetensors
medscan refit brain-flair decisions.csv --results night.h5 --archive /archive
medscan refit my.safetensors d.csv --results n.h5 --archive /a --data flair/
medscan evaluate flair.safetensors flair/ --detector brain-flair --plots plots/
medscan evaluate --suite bmad --root BMAD --out bmad/ --device cuda
medscan optimise flair.safetensors --data flair/ --out fast.safetensors
medscan optimise brain-flair --data heads/ --out flair.safetensors --slices 1000
medscan accept brain-flair --archive /archive --labels labels.csv --prevalence 0.1
medscan accept my.safetensors --archive /a --labels l.csv --min-sensitivity 0.9
medscan fetch https://pacs/dicom-web --into /spool/mr --since yesterday --modality MR
medscan fetch https://pacs/dicom-web --into /spool/mr --since 3d --forget night.h5
medscan plan /archive --shards 16
medscan plan /archive --shards 16 --ledger index.h5.ledger --json
medscan report night.h5 --archive /archive
medscan report monday.h5 tuesday.h5 --out /srv/worklist/week
medscan monitor site.history
medscan monitor site.history --decisions decisions.csv --since 2026-11-01
medscan export night.h5 --to nifti --out maps/
medscan export night.h5 --to dicom-seg --archive /archive --out objects/
medscan send objects/ --to https://pacs/dicom-web
medscan send objects/ --to ORTHANC@pacs:4242 --aet MEDSCAN
medscan verify night.h5
medscan verify night.h5 --archive /archive --sample 20
medscan locate night.h5 3f2a9c10b7d4e586 --archive /archive
medscan locate night.h5 morning.h5 1.2.840.113619.2.5 --archive /archive
medscan doctor
medscan doctor --out /srv/night.h5 --json
medscan ledger show night.h5
medscan ledger retry night.h5
medscan ledger show night.h5 --json
medscan ledger retry night.h5 3f2a9c10b7d4e586
medscan ledger forget night.h5 3f2a9c10b7d4e586
medscan ledger forget night.h5 3f2a9c10b7d4e586 --ledger /srv/night.ledger
medscan weights list
medscan weights pull ViT-L-14-336-quickgelu/openai
MEDSCAN_WEIGHTS=/srv/weights medscan weights list
medscan weights pull hf-hub:OWNER/MODEL
medscan weights import ViT-L-14-336px.pt
medscan weights import model.safetensors --name ViT-B-16/mine
medscan weights verify
medscan weights verify medscan-mini
"""


def examples_of(command: str) -> list[str]:
    """Return two examples of a command, such as `medscan ledger show`."""
    lines = [line for line in EXAMPLES.splitlines() if f"{command} " in f"{line} "]
    return lines[:2]
