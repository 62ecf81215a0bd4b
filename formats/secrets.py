"""How secrets look: the names that they go by, the forms of known tokens, and how they stand in running text."""

import re

REMOVED = "[removed]"
"""What stands where something was taken out."""

SECRET_NAME = re.compile(
    r"(?ix) pass(?:word|wd|phrase)s?$ | secret | credential | cookie | authori[sz]ation$ | ^auth$ | netrc"
    r" | (?:api|access|private|account|encryption|signing|ssh)[-_. ]?keys?(?:[-_. ]?(?:id|file))?$"
    r" | (?:^|[-_. ])key[-_. ]?file$"
    r" | (?:hf|hub|hugging[-_. ]?face|access|auth|api|bearer|refresh|session|security|identity|csrf|login|bot"
    r"    |github|gitlab|git|wandb|civitai|modelscope|replicate|openai|comet|clearml|neptune|slack|discord|telegram"
    r"    |user|personal|deploy|read|write)[-_. ]?tokens?$"
    r" | ^token$ | (?:wandb|civitai|openai|comet|neptune|modal|runpod)[-_. ]?key$"
)
"""Names whose value is a secret. Mere counts of tokens (max_token_length, keep_tokens, class_tokens) are not."""

SECRET_PARAMETER = re.compile(
    r"(?ix) token | secret | pass(?:word|wd|phrase)? | api[-_]?key | key | auth | authorization | sig(?:nature)?"
    r" | credential | cookie | jwt | code | session(?:id)? | .*[-_](?:token|secret|password|key|signature|credential)"
    r" | (?:aws)?accesskeyid | googleaccessid | policy | key-pair-id | x-(?:amz|goog)-.* | s[epvrtkig]"
)
"""Parameters of an address that let in whoever has it; signed addresses of object stores among them."""

TOKENS = re.compile(
    r"""(?x) (?<![A-Za-z0-9])(?:
      hf_[A-Za-z0-9]{8,} | api_org_[A-Za-z0-9]{8,}
    | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{16,} | glpat-[\w-]{16,}
    | sk-[\w-]{16,} | [rs]k_(?:live|test)_\w{16,} | r8_[A-Za-z0-9]{16,} | rpa_[A-Za-z0-9]{16,}
    | (?:AKIA|ASIA)[0-9A-Z]{12,} | AIza[\w-]{20,} | ya29\.[\w.-]{16,}
    | xox[abeprs]-[\w-]{10,} | npm_[A-Za-z0-9]{16,} | pypi-[\w-]{16,} | dckr_pat_[\w-]{16,}
    | tau_[\w-]{24,}
    | eyJ[\w-]{8,512}\.[\w-]{8,4096}(?:\.[\w-]*)?
    )"""
)
"""Secrets that are known by how they look: keys of hubs, clouds and services, JSON web tokens."""

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)

BEARER = re.compile(r"(?i)\b(Bearer|Basic|Token)(\s+)(?=[\w.~+/=-]*[\d=])[\w.~+/-]{12,}=*")
"""An authorization header; a word without a digit is prose."""

_NAMES = r"""(?: pass(?:word|wd|phrase) | secret | (?:api|access|private)[-_]?key | (?:wandb|civitai|openai)[-_]?key
    | (?:hf|hub|hugging[-_]?face|access|auth|api|refresh|session|github|wandb|civitai)[-_]?tokens? )"""
_VALUE = r"""(?!["']?\[removed\]) (?: "[^"\n]*" | '[^'\n]*' | [^\s"',;&)}\]]+ )"""

ASSIGNMENT = re.compile(
    rf"""(?ix) (?P<name>
          (?<![\w-]) --? (?: \w{{1,24}}[-_.] ){{0,3}} {_NAMES} \s{{1,8}} (?!-)
        | {_NAMES} ["']? \s{{0,8}} [=:] \s{{0,8}}
        ) {_VALUE}"""
)
"""`--hub_token abc`, `password: x` and the like in running text."""
