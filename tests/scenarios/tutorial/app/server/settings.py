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
