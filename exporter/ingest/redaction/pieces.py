"""What the patterns of several rules are made of: what stands before, between and around names and values."""

from __future__ import annotations

from exporter.ingest.redaction import checks, words
from exporter.ingest.redaction.view import HIDDEN

SUFFIX = (
    r"(?:[_\-. ]?(?:values?|keys?|hash|text|string|plain|raw|old|new|current|previous|confirm(?:ation)?|confirmed|repeat"
    r"|again|data|base64|b64|enc|encoded|env|arg|str|\d{1,2}|[(\[](?:s|string|plain)[)\]]))?"
)
SEP = r"""(?:["'`\]]{0,2}\s{0,3}(?:=>|:=|==|->|=|::?|\uff1a|\uff1d)[ \t]{0,3}[\[(]{0,2}[ \t]{0,2})"""
"""Between a name and its value."""

LOOSE = r"""(?:["'`\]]{0,2}[ \t]{0,3}(?:=>|:=|->|=|:|>|\uff1a|\uff1d|#|-|\bno\.?|\bnr\.?|\bis\b|\u662f|\u4e3a)?[ \t]{0,3}["'`]?)"""
"""Between a name and a number, where there may also be nothing but a blank."""

DELIMITERS = rf"""\s"'`,;&<>(){{}}\[\]|{HIDDEN}"""
BARE = (
    rf"""[^{DELIMITERS}](?:[^{DELIMITERS}]|(?<=[^\s"'])['`](?=[^{DELIMITERS}=:])"""
    # A sign ends a value only where something else begins after it.
    rf"""|[,;&|()](?=[^{DELIMITERS}])(?![\w.\-\[\]%]{{1,40}}[=:]))*+"""
)
VALUE = (
    r"(?:[bBrRuUfFNn@$]?(?:"
    rf'"(?P<s1>[^"{HIDDEN}]++)"?'
    rf"|'(?P<s2>[^'{HIDDEN}]++)'?"
    rf"|`(?P<s3>[^`{HIDDEN}]++)`)"
    rf"|(?P<s4>{BARE})"
    r")"
)
LIST = (
    rf"""(?P<s5>"[^"{HIDDEN}]++"(?:\s{{0,3}},\s{{0,3}}"[^"{HIDDEN}]++"(?!\s{{0,3}}[:=]))++)"""
    rf"""|(?P<s6>'[^'{HIDDEN}]++'(?:\s{{0,3}},\s{{0,3}}'[^'{HIDDEN}]++'(?!\s{{0,3}}[:=]))++)"""
)
VALUES = f"(?:{LIST}|{VALUE})"

# Not inside of a run of such characters; what is escaped is none in a view.
START = r"(?<![A-Za-z0-9])"

EN_STOP = (
    r"(?:is|are|was|were|be|been|not|no|the|a|an|must|should|for|has|have|had|to|of|in|on|at|by|from|with|and|or|if|does|do"
    r"|did|can|cannot|could|will|would|required|expired|invalid|missing|wrong|incorrect|contain|contains|length|than|this|that"
    r"|it|your|you|user|failed|because|please|found|empty|least|reset|change|changed)"
)
# A passphrase that nothing quotes: words to the end of the line.
PHRASE = rf"(?P<s>(?:(?!{EN_STOP}\b)[^{DELIMITERS}=:]{{2,24}} ){{2,11}}(?!{EN_STOP}\b)[^{DELIMITERS}=:]{{1,24}})(?=\s*$|[\r\n]|[,;.\"'])"

PASSWORDS = (words.PASSWORD, words.BOUND + words.BOUND_PASSWORD, words.BOUND + words.WEAK_PASSWORD)

SECRETS = (*PASSWORDS, words.SECRET, words.TOKEN)

# What Rust's regex looks for in all texts: few patterns, each for all rules that it may be for, since polars keeps no
# more than 32 of them prepared.
LONG = r"[A-Za-z0-9+/_.~-]{31}[G-Zg-z+/_.~-]|[G-Zg-z+/_.~-][A-Za-z0-9+/_.~-]{31}|[A-Za-z0-9+/_.~-]{16}[G-Z][A-Za-z0-9+/_.~-]{15}"
ALONE = r"(?m)^[ \t]{0,12}[A-Za-z0-9+/]{15,76}={0,2}[ \t\r]*$"
QUERY = r"[?&;#][A-Za-z0-9_-]{1,24}=[A-Za-z0-9_.~%+/=:-]{16}"
RARE = "|".join(
    (
        *(
            r"\*[0-9A-F]{40}",
            r"s\.[A-Za-z0-9]{24}",
            r"\$[A-Za-z0-9-]{1,16}\$",
            r"[0-9a-fA-F]{32}:",
            r":[0-9a-fA-F]{32}",
        ),
        r"(?:^|[^A-Za-z0-9_-])(?:-(?:[uUapPwAX]|pw|-user|-proxy-user|-username|-auth|-basic|-creds|-login)[ =\"'A-Za-z]|/p(?:ass)?:)",
    )
)
COUNTRIES = "|".join(
    f"[{country[0]}{country[0].lower()}][{country[1]}{country[1].lower()}]" for country in checks.IBAN_LENGTHS
)
IBANS = rf"(?:^|[^A-Za-z0-9])(?:{COUNTRIES})[0-9]{{2}}(?:[A-Za-z0-9]{{11}}|[ .-][A-Za-z0-9]{{4}}[ .-][A-Za-z0-9]{{4}})"
NUMBERS = "|".join(
    (
        *(r"[0-9]\^", r"[0-9]{12}=[0-9]{7}", r"[0-9]{3}-[0-9]{2}-[0-9]{4}", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-"),
        *(r"[0-9]\.[0-9]{3}\.[0-9]{3}/", r"(?:^|[^0-9])[1-8][0-9]{5}(?:19|20)[0-9]{9}(?:[^0-9]|$)"),
        r"(?:^|[^0-9.-])[2-9][0-9]{3}(?:[ .-]?[0-9]{4}[ .-]?[0-9]{4}[ .-]?[0-9]{4}|[ .-]?[0-9]{6}[ .-]?[0-9]{4,5})(?:[^0-9]|$)",
        *(r"\+[0-9]", r"(?:^|[^0-9A-Za-z.+/:,-])00[1-9][0-9]", r"\([0-9]{3}\)"),
    )
)

ALL_PASSWORDS = f"(?:{words.PASSWORD}|{words.BOUND}{words.BOUND_PASSWORD}|{words.BOUND}{words.WEAK_PASSWORD})"

FLAG = (
    r"(?:[a-z\-]{0,40}(?:pass(?!ive|through|-through|age)[a-z]{0,12}|pwd|pw|secret|token|api-?key|access-?key|account-?key|auth-?key"
    r"|private-?key|credentials?|passwort|mot-de-passe)(?:-(?:value|string|text|stdin|plain))?)"
)

CRED_COMMANDS = (
    r"(?:mysql\w{0,12}|mariadb\w{0,8}|mongo\w{0,8}|sshpass|docker|podman|nerdctl|helm|skopeo|buildah|crane|psql|pg_dump|redis-cli"
    r"|rabbitmq\w{0,8}|htpasswd|useradd|usermod|7za?|zip|unzip|rar|unrar|sqlcmd|bcp|osql|isql|ldap\w{1,8}|ipmitool|mosquitto_\w{3}"
    r"|kafka\w{0,8}|az|oc|cf|ibmcloud|snmp\w{1,8}|smbclient|rpcclient|winexe|hydra|medusa|lftp|ncftp\w{0,4}|curl|wget|http|https"
    r"|plink|pscp|psftp|sqlplus|mqadmin|clickhouse\w{0,10}|influx|nodetool|cqlsh|vault|consul|xfreerdp|rdesktop|net|cmdkey|runas|impdp"
    r"|expdp|db2|mssql-cli|mycli|pgcli|svn|git|keytool|jarsigner|openssl|gpg|ansible\w{0,10}|java|aws|gcloud|login|ftp)"
)


def _not_after(*names: str) -> str:
    return "".join(f"(?<!{name}{sign}key)" for name in names for sign in ("", "[_. -]"))


NO_SECRET_KEYS = _not_after(
    *(
        "idempotency",
        "cache",
        "partition",
        "sort",
        "primary",
        "foreign",
        "public",
        "object",
        "row",
        "group",
        "dedup",
        "hash",
    ),
    *(
        "message",
        "event",
        "index",
        "range",
        "map",
        "search",
        "lookup",
        "resource",
        "issue",
        "project",
        "unique",
        "duplicate",
    ),
    *("pub", "document", "composite", "correlation", "tracking", "order", "sharding", "shard", "s3", "storage"),
)

TAIL = rf"(?P<s>[^\s\"'`,;<>|{HIDDEN}]{{3,}})"
"""A value of a command: up to the next blank."""

QUOTED_OR_TAIL = rf"""(?:"(?P<s1>[^"{HIDDEN}]+)"|'(?P<s2>[^'{HIDDEN}]+)'|{TAIL})"""

LINK = (
    r"(?:reset|verif|confirm|activat|invit|unsubscri|magic|passw|recover|token|auth|login|signin|sign-in|sso|hooks?\b|webhook"
    r"|inputs?\b|ingest|robot|send\b|optout|opt-out|onetime|one-time|otp|setup-account|set-password|accept|download-link|access|callback|impersonat|receiver|secret)"
)

INTERNATIONAL = r"\d{1,3}[ .\-/]?(?:\(0?\d{0,4}\)[ .\-/]?)?\d{1,4}(?:[ .\-/]?\d{2,5}){1,5}(?!\w)"

NUMBER = r"(?P<s>[A-Za-z0-9][A-Za-z0-9.\-/]{0,40}(?: [A-Za-z0-9]*\d[A-Za-z0-9.\-/]*){0,7})(?![\w])"

DATE = (
    r"(?:\d{4}[./\- ]\d{1,2}[./\- ]\d{1,2}|\d{1,2}[./\- ]\d{1,2}[./\- ]\d{2,4}|\d{1,2}(?:st|nd|rd|th|\.|er)?(?: of| de)? [^\W\d_]{3,12}\.?,?"
    r"(?: de)? \d{4}|[^\W\d_]{3,12} \d{1,2}(?:st|nd|rd|th)?,? \d{4}|\d{1,2}-[A-Za-z]{3}-\d{2,4}|\d{4}\s?年\s?\d{1,2}\s?月\s?\d{1,2}\s?日?|\d{4}년 ?\d{1,2}월 ?\d{1,2}일|\d{8}|\d{6})(?!\d)"
)
