"""Make entries in the Django admin of the project in this folder, as a person does who logs in there."""

from django.contrib.auth import get_user_model
from django.test import Client

get_user_model().objects.create_superuser("admin", password="admin")
client = Client(headers={"host": "localhost"})
assert client.login(username="admin", password="admin")


def add(model, **fields):
    """Fill in the form and save it: the admin answers with the list, or with the form and what is wrong."""
    hidden = {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}
    answer = client.post(f"/admin/django_celery_beat/{model}/add/", {**hidden, **fields})
    assert answer.status_code == 302, answer.content.decode()
    return str(answer.wsgi_request.resolver_match.func.model_admin.model.objects.latest("pk").pk)


times = {"minute": "30", "hour": "7", "day_of_week": "mon", "day_of_month": "*", "month_of_year": "*"}
entry = {"enabled": "on", "args": "[]", "kwargs": "{}", "headers": "{}"}
often = add("intervalschedule", every="2", period="seconds")
monday = add("crontabschedule", **times, timezone="Asia/Seoul")
add("periodictask", **entry, name="often", regtask="app.tasks.debug_task", interval=often)
add("periodictask", **entry | {"args": "[5, 6]"}, name="Monday", regtask="app.tasks.sum", crontab=monday)
add("periodictask", **entry, name="gone", task="app.tasks.gone", crontab=monday)
start = {"start_time_0": "2099-01-01", "start_time_1": "00:00:00"}
add("periodictask", **entry, **start, name="one day", regtask="app.tasks.tidy", interval=often)
