"""Ansible's lookup `template`, without its deep copy of all that a host's variables hold: that takes longer than it."""

from __future__ import annotations

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: template
short_description: The texts of templates
description: As ansible.builtin.template, whose options it takes, for templates that change none of their variables.
options:
  _terms: {description: Paths of templates., required: true, type: list, elements: path}
author: celeryhost
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ lookup('celeryhost.celeryhost.template', 'templates/redis.conf.j2') }}"
"""

RETURN = r"""
_raw: {description: The texts., type: list, elements: str}
"""


class _Variables(dict):
    def __deepcopy__(self, memo):
        return dict(self)


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        template = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        return template.run(terms, _Variables(variables or {}), **kwargs)
