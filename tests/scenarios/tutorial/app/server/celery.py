import os
from celery import Celery
from django.conf import settings
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'server.settings')
app = Celery('celery_test', broker='redis://localhost:6379', backend='redis://localhost:6379')
app.config_from_object('django.conf:settings', namespace='CELERY')
app.conf.update(task_serializer='json', accept_content=['application/json'], result_serializer='json',
                timezone=settings.TIME_ZONE, enable_utc=False)
app.autodiscover_tasks(lambda: settings.INSTALLED_APPS)
app.conf.beat_schedule = {'add-every-3-seconds': {'task': 'notification.tasks.sum', 'schedule': 3.0, 'args': (16, 16)}}

@app.task(bind=True)
def debug_task(self):
    print(f'Request: {self.request!r}')
