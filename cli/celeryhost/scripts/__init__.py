"""What runs in another program's Python: a project's, Supervisor's, or the system's under another account.

Most is sent there as text, so nothing here imports anything of this package but its neighbours.
"""

import os

INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside")  # what a worker and a beat load by its name
