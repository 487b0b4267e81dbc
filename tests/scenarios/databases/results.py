"""Wait until one more result of entry `often` is in the database, then print each result: entry, task, state, value."""

import json
import time

from django_celery_results.models import TaskResult

often = TaskResult.objects.filter(periodic_task_name="often", status="SUCCESS")
before, end = often.count(), time.monotonic() + 120
while often.count() <= before and time.monotonic() < end:
    time.sleep(0.5)
print(json.dumps(list(TaskResult.objects.values_list("periodic_task_name", "task_name", "status", "result"))))
