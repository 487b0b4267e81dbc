import time
from celery import shared_task

@shared_task
def sum(x, y):
    time.sleep(3)
    return x + y
