"""`python3 sdk-python/build`: see `builder.py`."""

import sys

import builder

sys.exit(builder.main())
