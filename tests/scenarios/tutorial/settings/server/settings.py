from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = 'django-insecure-tutorial'
DEBUG = True
ALLOWED_HOSTS = []
INSTALLED_APPS = [
    'notification',
    'django.contrib.auth',
    'django.contrib.contenttypes',
]
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}
TIME_ZONE = 'Asia/Seoul'
USE_TZ = True

CELERY_BROKER_URL = 'redis://localhost:6379'
CELERY_RESULT_BACKEND = 'redis://localhost:6379'
CELERY_ACCEPT_CONTENT = ['application/json']
CELERY_RESULT_SERIALIZER = 'json'
CELERY_TASK_SERIALIZER = 'json'
CELERY_TIMEZONE = 'Asia/Seoul'
CELERY_BEAT_SCHEDULE = {
    'task-number-one': {'task': 'notification.tasks.sum', 'schedule': 3.0, 'args': (16, 16)},
}
