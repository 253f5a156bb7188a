"""What is hidden by which pattern, and in which order: one list that somebody who checks it reads whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

from exporter.ingest.redaction import checks, words
from exporter.ingest.redaction.forms import forms
from exporter.ingest.redaction.pieces import (
    ALL_PASSWORDS,
    ALONE,
    CRED_COMMANDS,
    DATE,
    DELIMITERS,
    FLAG,
    IBANS,
    INTERNATIONAL,
    LINK,
    LONG,
    LOOSE,
    NO_SECRET_KEYS,
    NUMBER,
    NUMBERS,
    PASSWORDS,
    PHRASE,
    QUERY,
    QUOTED_OR_TAIL,
    RARE,
    SECRETS,
    SEP,
    START,
    SUFFIX,
    TAIL,
    VALUES,
)
from exporter.ingest.redaction.rule import Rule, Span, each, named, rule
from exporter.ingest.redaction.view import HIDDEN

PRIVATE_COLUMN = re.compile(
    rf"(?i){ALL_PASSWORDS}|{words.SECRET}|{words.TOKEN}|ssn|{words.BOUND}{words.NUMBER_OF}|{words.BOUND}{words.BORN}"
    rf"|{words.BOUND}{words.CODE}|e_?mail|{words.PHONE}|{words.NAME_OF}|{words.STREET}"
)


def columns(match: re.Match[str]) -> Iterator[Span]:
    """The values of columns whose names say that they are secret."""
    private = [PRIVATE_COLUMN.search(name) is not None for name in match["columns"].split(",")]
    if any(private):
        values = list(SQL_VALUE.finditer(match.string, *match.span("values")))
        aligned = len(values) % len(private) == 0
        for number, value in enumerate(values):
            if HIDDEN not in value[0] and (not aligned or private[number % len(private)]):
                yield value.span("quoted") if value["quoted"] else value.span("bare")


SQL_VALUE = re.compile(r"""[NE]?'(?P<quoted>(?:[^']|'')*+)'|"(?:[^"]*+)"|(?P<bare>[^\s,()'"](?:[^,()'"])*+)""")


def with_local_part(match: re.Match[str]) -> Iterator[Span]:
    """From the domain of an address back to where its name begins."""
    before = LOCAL_PART.search(match.string, max(0, match.start() - 64), match.start())
    if before:
        yield before.start(), match.end()


LOCAL_PART = re.compile(r"[\w.+%'\-]+\Z")


# fmt: off
RULES: tuple[Rule, ...] = (
    rule("private_key", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"),
    # What comes line by line: all lines of a PEM but the last have 64 or 76 characters, those of OpenSSH 70.
    rule(
        "private_key",
        r"(?m:^\s{0,12}(?P<s>(?=[A-Za-z+/]*\d)(?=[^a-z\s]*[a-z])(?=[^A-Z\s]*[A-Z])(?:[A-Za-z0-9+/]{64}|[A-Za-z0-9+/]{70}|[A-Za-z0-9+/]{76}|[A-Za-z0-9+/]{16,75}={1,2})={0,2})\s*$)",
        ALONE,
    ),
    rule("private_key", r"(?m:^\s{0,12}(?P<s>MII[A-Za-z0-9+/]{20,}={0,2})\s*$)|(?P<s1>b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/]*+={0,2})|Private-MAC: {0,3}(?P<s2>[0-9a-f]{40,}+)"),
    # Whole headers before single fields: a cookie is a list of pairs, some schemes a list of parameters.
    rule(
        "cookie",
        rf"(?i)cookies?2?{SEP}[\"']?(?P<s>[^\s\"'\r\n{HIDDEN}][^\"'\r\n{HIDDEN}]*+)",
        holds=checks.is_token,
    ),
    rule(
        "authorization",
        rf"(?i)authori[sz]ation{SEP}[\"']?(?P<s>(?:digest|oauth|hawk|signature|aws4-hmac-sha256|negotiate|mac)\s[^\r\n{HIDDEN}]++"
        rf"|(?:[a-z][\w\-]{{1,30}}\s{{1,3}})?[^{DELIMITERS}]++)",
        holds=checks.is_authorization,
    ),
    named(
        "secret",
        rf"(?:{words.PASSWORD}|{words.BOUND}{words.BOUND_PASSWORD})", rf"{SUFFIX}{SEP}(?:{PHRASE}|{VALUES})",
        holds=checks.is_secret,
    ),
    named("secret", rf"{words.SECRET}", rf"{SUFFIX}{SEP}(?:{PHRASE}|{VALUES})", holds=checks.is_named_secret),
    named(
        "secret",
        rf"{words.BOUND}{words.WEAK_PASSWORD}", rf"{SUFFIX}{SEP}{VALUES}",
        holds=checks.is_weak,
    ),
    named("secret", rf"{words.TOKEN}", rf"{SUFFIX}{SEP}{VALUES}", holds=checks.is_token),
    # Whatever else stands in a name, what is as random as a key is one.
    named(
        "secret",
        r"(?:secret|token|passw|credential|api[_\-]?key|access[_\-]?key|private[_\-]?key|sign(?:ing)?[_\-]?key)",
        rf"(?:[_\-.]?[a-z]{{1,16}}){{1,4}}(?<!id)(?<!ids)(?<!name)(?<!ref)(?<!type)(?<!url)(?<!uri)(?<!path)(?<!file)(?<!version)(?<!arn)(?<!digest)(?<!fingerprint)(?<!serial){SEP}{VALUES}",
        holds=checks.is_key,
    ),
    named("secret", rf"{words.BOUND}x-(?:[a-z0-9]{{1,20}}-){{1,3}}(?:api-?key|key{NO_SECRET_KEYS}|token|secret|auth|sign(?:ature)?|password)", rf"{SEP}{VALUES}", holds=checks.is_token),
    named("secret", rf"{words.BOUND}(?:auth|sign?|signature|pat|jwt|salt|dsn)", rf"{SEP}{VALUES}", holds=checks.is_key),
    named("secret", rf"{words.BOUND}{words.SESSION}", rf"{SUFFIX}{SEP}{VALUES}", holds=checks.is_session),
    named("secret", rf"(?:key{NO_SECRET_KEYS}|[_\-](?:pass|pw|salt|seed|creds?|auth|secret|token|pat|sas|pin|license|licence|cert))", rf"{SUFFIX}{SEP}{VALUES}", holds=checks.is_key),
    # Blocks of YAML, what stands beside its name in XML, lists and tuples.
    *each(
        "secret",
        SECRETS, rf"{SUFFIX}[\"']?:[ \t]{{0,3}}[|>][+\-]?\d?[ \t]{{0,3}}\r?\n[ \t]{{1,40}}(?P<s>[^\r\n{HIDDEN}]++(?:\r?\n[ \t]{{1,40}}[^\s:{HIDDEN}]++(?=[ \t]*(?:$|\r|\n)))*+)",
    ),
    *each(
        "secret",
        SECRETS,
        rf"{SUFFIX}(?:\s[^<>{HIDDEN}]{{0,200}})?>\s{{0,3}}(?:<!\[CDATA\[)?(?P<s>[^<>\]{HIDDEN}]{{1,4096}})(?=</|\]\]>)",
        holds=checks.is_secret,
    ),
    *each(
        "secret",
        (*SECRETS, "authorization", "cookie"), rf"{SUFFIX}[\"'](?:\s{{0,3}},\s{{0,3}}[bn]?|\s[^<>{HIDDEN}]{{0,80}}?\bvalue\s?=\s?|\s?>\s?<value>|>)(?:\"(?P<s>[^\"{HIDDEN}]++)\"|'(?P<s1>[^'{HIDDEN}]++)'|(?P<s2>(?<=>)[^<{HIDDEN}]++))",
        holds=checks.is_secret,
    ),
    # One level further down.
    *each(
        "secret",
        SECRETS,
        rf"{SUFFIX}[\"']?\s{{0,3}}[:=]\s{{0,3}}\{{\s{{0,3}}[\"']?(?:value|text|plain|current|new|raw|data|#text|_|\$|string_?value)[\"']?{SEP}{VALUES}",
        holds=checks.is_named_secret,
    ),
    # Parts of a form
    *each("secret", SECRETS, rf"[\"']?;?(?:\r?\n[^\r\n]{{1,80}})?\r?\n\r?\n(?P<s>[^\r\n{HIDDEN}]{{3,200}})", checks.is_password),
    # In sentences: with few words between a name and its value.
    *each(
        "secret",
        (*SECRETS[:-1], rf"{words.BOUND}login"), rf"s?{SUFFIX}(?:[ \t]{{1,2}}[^{DELIMITERS}=:]{{1,40}}){{0,5}}?[ \t]{{0,2}}(?:(?:(?<![^\W_])(?:is|was|are|be|to|as|with|now|changed|from|set|ist|war|lautet|von|auf|mit|est|[eé]tait|es|era|fue|[eé]|jest|to|hat|van|med|[aä]r|er|on|это|был|на|равен|wynosi|je|olarak|adalah|l[aà]|eşit|है|là|הוא|هي)\b[ \t]{{0,2}}){{1,4}}[:=]?|[:=\u2013\u2014]|[\u662f\u4e3a\u70ba\u306f\ub294\uc740]+[ \t]?)[ \t]{{0,3}}(?:\"(?P<s>[^\"{HIDDEN}]{{3,}}+)\"|'(?P<s1>[^'{HIDDEN}]{{3,}}+)'|`(?P<s2>[^`{HIDDEN}]{{3,}}+)`|(?P<s3>[^{DELIMITERS}]++))",
        holds=checks.is_password,
    ),
    *each(
        "secret",
        (words.TOKEN,), rf"s?{SUFFIX}(?:[ \t]{{1,2}}[^{DELIMITERS}=:]{{1,40}}){{0,5}}?[ \t]{{0,2}}(?:(?:(?<![^\W_])(?:is|was|are|be|to|as|with|now|changed|from|set|ist|war|lautet|von|auf|mit|est|[eé]tait|es|era|fue|[eé]|jest|to|hat|van|med|[aä]r|er|on|это|был|на|равен|wynosi|je|olarak|adalah|l[aà]|eşit|है|là|הוא|هي)\b[ \t]{{0,2}}){{1,4}}[:=]?|[:=\u2013\u2014]|[\u662f\u4e3a\u70ba\u306f\ub294\uc740]+[ \t]?)[ \t]{{0,3}}(?:\"(?P<s>[^\"{HIDDEN}]{{3,}}+)\"|'(?P<s1>[^'{HIDDEN}]{{3,}}+)'|`(?P<s2>[^`{HIDDEN}]{{3,}}+)`|(?P<s3>[^{DELIMITERS}]++))",
        holds=checks.is_chosen_token,
    ),
    *each(
        "secret",
        (*PASSWORDS[:2], words.SECRET), rf"s?{SUFFIX}[ \t\u300c]{{1,3}}[:=]?(?:\"(?P<s>[^\"\s{HIDDEN}]{{4,}}+)\"|'(?P<s1>[^'\s{HIDDEN}]{{4,}}+)'|`(?P<s2>[^`\s{HIDDEN}]{{4,}}+)`|\u300c(?P<s3>[^\u300d{HIDDEN}]++)\u300d|(?P<s4>[^{DELIMITERS}]++))",
        holds=checks.is_password,
    ),
    named(
        "secret",
        words.PASSWORD,
        rf"s?\s(?:is|was|=|:)\s(?:set to\s)?(?P<s>[^{DELIMITERS}]{{4,}})(?=\s*$|[.!]\s|\s(?:and|for|but)\b)",
        holds=checks.is_secret,
    ),
    rule(
        "secret",
        rf"(?i){words.BOUND}(?:credentials?|creds|login|user ?: ?pass(?:word)?|user/pass(?:word)?|logged in as)[ :=]{{1,3}}[\w.@\-]{{1,64}}[:/](?P<s>[^\s:/{DELIMITERS}]{{4,}})(?![\w./:])",
        holds=checks.is_password,
    ),
    # On command lines
    rule(
        "secret",
        rf"(?i)(?<![\w\-])(?:--?|/)(?!-?no-){FLAG}(?:[ \t]{{1,3}}|[=:]){QUOTED_OR_TAIL}",
        holds=checks.is_argument,
    ),
    rule(
        "secret",
        rf"(?i)\b{CRED_COMMANDS}(?:\.exe)?\b[^\r\n|]{{0,300}}?\s(?:-(?:p|P|w|a|pw|A|X)[ =]?|/p(?:ass)?:){QUOTED_OR_TAIL}",
        RARE,
        holds=checks.is_argument_alone,
    ),
    rule("secret", rf"(?i)(?<![\w\-])-p[ =]?{QUOTED_OR_TAIL}", RARE, holds=checks.is_chosen),
    rule(
        "secret",
        rf"(?i)(?<![\w\-])(?:-u|-U|--user|--proxy-user|--username|--auth|-a|--basic|--creds|--login)[ =]?[\"']?[\w.@\\/\-]{{0,64}}[:%,](?P<s>[^\s\"'|{HIDDEN}]++)",
        RARE,
        holds=checks.is_argument,
    ),
    rule("secret", rf"(?i)\bnet\s+use\s+[^\r\n]{{0,120}}?\\\\?[\w.$\\\-]{{1,120}}\s+(?![/\\]){QUOTED_OR_TAIL}", holds=checks.is_argument),
    rule("secret", rf"(?i)(?<!\S)(?:pass|env|auth):{TAIL}", holds=checks.is_weak),
    named("secret", rf"{words.BOUND}(?:auth|requirepass|masterauth)", rf"[\"']?[ \t]{{1,3}}(?:[\"']\w{{1,32}}[\"']\s(?=[\"']))?{QUOTED_OR_TAIL}", holds=checks.is_chosen_or_quoted),
    rule("secret", rf"(?i)\b(?:community|vault login|vault unwrap|vault operator unseal|npm login|unseal key(?: \d)?:?|sudo -S <<<)[ \t]{{1,3}}{QUOTED_OR_TAIL}", holds=checks.is_chosen),
    rule("secret", rf"(?i)\becho\s+{QUOTED_OR_TAIL}\s*\|\s*(?:sudo|passwd|docker|base64|kubectl|gh|openssl|chpasswd)", holds=checks.is_secret),
    rule("secret", rf"(?i)\b(?:add_user|change_password|adduser|add-user)\s+[\w.@\-]{{1,64}}\s+{QUOTED_OR_TAIL}", holds=checks.is_chosen),
    rule("secret", rf"(?i)\bacl\s+setuser\s[^\r\n]{{0,120}}?\s>{TAIL}"),
    rule("secret", rf"(?i)\b(?:auth|priv)\s+(?:md5|sha\d{{0,3}}|des|3des|aes)\s+(?:\d{{3}}\s+)?{QUOTED_OR_TAIL}", needs="auth priv", holds=checks.is_argument_alone),
    rule("secret", r"\bsend(?:_user)?\s+(?:--\s+)?[\"'](?P<s>[^\"'\s\\]{4,})(?:\s|\\[rn]|\\)*[\"']", needs="send", holds=checks.is_chosen),
    # What mail and file servers are told
    rule("secret", rf"\bUSER\s+\S{{1,64}}\s+PASS\s+{TAIL}|(?m:(?:^|[>:\]]\s)PASS\s(?P<s1>[^\s{HIDDEN}]{{4,}}))", needs="PASS", holds=checks.is_chosen),
    rule("secret", r"\b[A-Za-z]{0,4}\d{1,6}\sLOGIN\s\"?[\w.@\-]{1,64}\"?\s\"?(?P<s>[^\s\"]{4,})", needs="LOGIN", holds=checks.is_password),
    # SQL
    rule(
        "secret",
        r"(?i)\b(?:identified\s{1,3}(?:with\s{1,3}['\"]?[\w$]{1,64}['\"]?\s{1,3})?(?:by|as)(?:\s{1,3}password)?|password(?:\s{1,3}for\s{1,3}(?:['\"][^'\"\s]{0,64}['\"](?:@['\"][^'\"\s]{0,64}['\"])?|[^'\"\s]{1,80}))?\s{0,3}(?:=|:=)?\s{0,3}\(?|(?:encrypted|unencrypted|valid)\s{1,3}password|old_password\(|passphrase|replace|user_pass(?:word)?)\s{0,3}=?\s{0,3}\(?[NE]?"
        rf"(?:'(?P<s>(?:[^'{HIDDEN}]|'')++)'|\"(?P<s1>(?![:,\]}} ])[^\"{HIDDEN}]++)\"|(?<=[ =(])'(?P<s3>[^'\s{HIDDEN}]{{3,}}+)(?=\s|$)|(?<=by )(?P<s2>[^{DELIMITERS}]++))",
        holds=checks.is_secret,
    ),
    rule(
        "secret",
        r"(?i)\b(?:insert|replace|merge|upsert)\b[^()]{0,200}\((?P<columns>[^()]{3,2000})\)\s{0,5}(?:output\s[^()]{1,200})?(?:values|value|select|from)\s{0,5}\(?(?P<values>[^;]{1,8000})",
        spans=columns,
    ),
    # A table whose header names it
    rule("secret", r"(?i)(?m:^|\s)(?P<columns>[a-z_]{2,24}(?:,[a-z_]{2,24}){1,20})\r?\n(?P<values>[^\r\n]{3,2000}(?:\r?\n[^\r\n,]{1,80},[^\r\n]{1,2000}){0,50})", needs=[one for name in ("password", "passwd", "pwd", "pass", "token", "secret", "email", "ssn", "iban", "phone") for one in (f",{name}", f"{name},")], spans=columns),
    # Headers and schemes
    rule("jwt", rf"{START}(?P<s>eyJ[\w\-]{{5,}}+\.[\w\-]{{5,}}+(?:\.[\w\-]*+){{0,3}})|{START}(?P<s1>eyJ[A-Za-z0-9+/\-_]{{40,}}+={{0,2}})|{START}(?P<s2>ZXlK[A-Za-z0-9+/\-_]{{40,}}+={{0,2}})|{START}(?P<s3>v[1-4]\.(?:local|public)\.[\w\-]{{20,}}+(?:\.[\w\-]++)?)", needs="eyJ ZXlK .local. .public."),
    rule("bearer", r"(?i)\bbearer\s{1,3}[\"']?(?P<s>[A-Za-z0-9\-._~+/]{8,}+=*+)", holds=checks.is_bearer),
    rule(
        "bearer",
        r"(?i)\b(?:ssws|geniekey|apikey|api-key|token|snowflake token=|hmac|bot|klaviyo-api-key|negotiate|ntlm|splunk)\s{1,3}[\"']?(?P<s>[A-Za-z0-9\-._~+/]{8,}+=*+)",
        holds=checks.is_scheme_value,
    ),
    rule("basic", r"(?i)\b(?:basic|plain|auth login)\s{1,3}[\"']?(?P<s>[A-Za-z0-9+/\-_]{6,}+={0,2}+)", holds=checks.is_basic),
    rule("basic", r"(?i)[\"']?\b_?auth[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<s>[A-Za-z0-9+/\-_]{8,}+={0,2}+)", holds=checks.is_basic),
    *forms(),
    rule("aws_key", r"(?:(?:AKIA|ASIA)[A-Z0-9]{16})[^A-Za-z0-9/+]{1,20}(?:[A-Za-z_]{1,30}[^A-Za-z0-9/+]{1,4})?(?P<s>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"),
    # Links that let somebody in
    rule("slack_token", r"(?i)hooks\.slack\.com/(?:services|workflows|triggers)/(?P<s>[\w/\-]{8,}+)"),
    rule(
        "link",
        r"(?i)discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d+/(?P<s1>[\w\-]{20,}+)"
        r"|webhook\.office\.com/webhookb2/(?P<s2>[\w@/\-]{20,}+)|(?:hooks|chat|mattermost)[\w.\-]{0,60}/hooks/(?P<s3>[\w\-]{16,}+)|api\.telegram\.org/bot(?P<s4>[\w:\-]{20,}+)"
        r"|collectors?[\w.\-]{0,40}/receiver/v1/http/(?P<s5>[\w+/=\-]{20,}+)|hooks\.zapier\.com/hooks/catch/(?P<s6>[\w/]{8,}+)|(?:outlook|webhook)[\w.\-]{0,60}/(?:webhook|IncomingWebhook)/(?P<s7>[\w@/\-]{20,}+)|chat\.googleapis\.com/v1/spaces/[\w\-]{1,40}/messages\?(?P<s8>\S{20,}+)|maker\.ifttt\.com/trigger/\w{1,60}/with/key/(?P<s9>[\w\-]{10,}+)",
    ),
    rule(
        "link",
        rf"(?i)/[\w\-.]{{0,40}}?{LINK}[\w\-.]{{0,40}}/(?:[\w\-]{{1,20}}/){{0,2}}(?P<s>[\w\-.~=+]{{16,}}+(?:/[\w\-]{{16,}}+)*+)",
        holds=checks.is_linked,
    ),
    rule(
        "link",
        r"(?i)(?<=[?&;#])(?:token|key|api_?key|apikey|appid|app_?key|sig|sign|signature|auth|auth_?key|access_?token|secret|ticket|hash|otp|jwt|sid)"
        r"=(?P<s>[0-9a-f]{32,}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})(?![\w\-])",
        QUERY,
    ),
    rule("link", r"(?i)://[^/\s]{1,100}/(?:[\w\-]{1,20}/){0,2}v\d/(?P<s>[\w\-]{30,64})(?![\w/.\-])", needs="://", holds=checks.is_key),
    rule("link", r"(?i)://(?P<s>e[no][a-z0-9]{11,16})\.(?:m\.)?pipedream\.net"),
    rule(
        "link",
        r"(?i)(?<=[?&;#])(?:token|code|key|sig|signature|hash|auth|ticket|t|k|h|otp|secret|nonce|jwt|sid|s|session|access|apikey|api_key|credential|x-amz-\w{1,20}|x-goog-\w{1,20}|id|invite|uid|c|r|ref|st|assertion|samlresponse|password|pw|pwd|pass|p|authkey|subscription-key|ocp-apim-subscription-key)"
        r"=(?P<s>[\w\-.~%+/=:]{16,}+)",
        QUERY,
        holds=checks.is_key,
    ),
    # To the last @ of the authority, for a password may hold one.
    rule(
        "userinfo",
        rf"""://(?P<s>[^\s/?#"'<>{HIDDEN}]{{1,512}})@|jdbc:oracle:thin:(?P<s1>[^\s@"'{HIDDEN}]{{1,200}})@(?=\S)"""
        rf"""|://(?P<s2>[^\s/?#"'<>@:{HIDDEN}]{{0,128}}:(?!\d{{1,5}}(?:[/?#]|$))[^\s"'<>{HIDDEN}]{{1,256}})@(?=[\w.\-\[]{{1,200}}(?::\d|[/?#,\s"'<>]|$))""",
        holds=checks.is_userinfo,
    ),
    rule("userinfo", rf":(?<=[\w.\-]:)(?P<s>[^\s:/@\"'<>(){{}},;|{HIDDEN}]{{3,128}})@(?:tcp|unix|udp|memory|cloudsql\w*)?\(", needs="@"),
    rule(
        "userinfo",
        rf"(?<![\w/.@\-])[A-Za-z][\w$]{{1,30}}/(?P<s1>[^\s/@\"'<>(){{}}|{HIDDEN}]{{3,64}})@(?:(?://)[\w.\-]{{1,200}}|[\w.\-]{{1,200}}(?::\d{{2,5}}(?!\d)|/\w))"
        rf"|(?i:\b(?:connect|conn|sqlplus(?:\s-\w+)?|userid=|exp|imp|expdp|impdp)\s?)[\w$]{{1,30}}/(?P<s2>[^\s/@\"'{HIDDEN}]{{3,64}})@",
        needs="@",
        holds=checks.is_chosen,
    ),
    rule("userinfo", rf":(?<=[\w.\-]:)(?P<s>[^\s:/@\"'<>(){{}}\[\],;|{HIDDEN}]{{4,128}})@[\w\-]{{1,60}}(?:\.[\w\-]{{1,60}}){{0,5}}(?:\.[a-z]{{2,12}}|:\d{{2,5}})\b", needs="@", holds=checks.is_chosen),
    rule("secret", rf"(?i)(?<![\w:])(?:[\w.\-*]{{1,100}}:){{3}}[\w.\-*]{{1,64}}:(?P<s>[^\s:{HIDDEN}]{{3,}})\s(?:in\s)?\S{{0,20}}pgpass"),
    # --- Of people
    rule(
        "email",
        r"@(?:[^\W_][\w\-]{0,62}\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9\-]{2,40})(?![\w])",
        needs="@",
        holds=checks.is_email,
        spans=with_local_part,
    ),
    # Written out, so that no machine finds it.
    rule(
        "email",
        r"(?i)(?<![\w.])(?P<s>[\w+\-]{1,64}(?:(?:\.| dot )[\w+\-]{1,64}){0,3}(?:\s?[\[({<]\s?(?:at|@|ad|arroba|\u00e4t)\s?[\])}>]\s?[\w\-]{1,63}"
        r"(?:\s?(?:[\[({<]\s?(?:dot|\.|punkt|punto|point)\s?[\])}>]|\.| dot )\s?[\w\-]{1,63}){1,4}"
        r"|\s(?:at|arroba)\s[\w\-]{1,63}(?:\sdot\s[\w\-]{1,63}){0,3}\sdot\s(?:com|net|org|edu|gov|io|info|dev|app|co|biz|eu|de|fr|uk|es|pt|nl|pl|ru"
        r"|cz|ch|se|fi|dk|jp|cn|kr|br|ca|au)\b))",
        needs=(" dot ", *(f"{sign}{blank}{at}" for sign in "[({<" for blank in ("", " ") for at in ("at", "@", "ad", "arroba", "\u00e4t"))),
    ),
    # Prefixes and lengths of the issuers: one in ten of all long numbers passes Luhn, block ids among them.
    rule(
        "card",
        r"(?P<s1>%?B\d{12,19}\^[^\^\r\n?]{2,40}\^\d{4,}+[^?\s]{0,60}\??)|(?P<s2>;?(?<!\d)\d{12,19}=\d{7,}+\??)",
        NUMBERS,
    ),
    rule(
        "card",
        r"(?<!\d)(?<!\d[.\-])(?<!blk_)(?<![\d.]-)(?<![^\W\d_]-)(?<!_-)(?<![0-9a-f]{4}[a-f])(?P<s>(?:4\d{3}|5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720|220[0-4]|6011|64[4-9]\d|65\d\d|35[2-8]\d|62\d\d|81\d\d|9792|8600|9860)([ .\-]?)\d{4}\2\d{4}\2\d{4}"
        r"|3[47]\d\d([ .\-]?)\d{6}\3\d{5}|3(?:0[0-5]\d|09\d|[689]\d\d)([ .\-]?)\d{6}\4\d{4})(?![\w\-]|\.\d)",
        NUMBERS,
        holds=checks.is_card,
    ),
    named(
        "card",
        rf"{words.BOUND}{words.CARD}", r"[\w .:=#\"'\-]{0,20}?(?<!\d)(?P<s>\d(?:[ .\-]?\d){11,18})(?!\d)",
        holds=checks.is_card,
    ),
    rule("iban", r"(?i)(?<![a-z0-9])(?P<s>[a-z]{2}\d{2}([ .\-]?)[a-z0-9]{4}\2(?:[a-z0-9]{4}\2){1,6}[a-z0-9]{0,4})(?![a-z0-9])", IBANS, holds=checks.is_iban),
    rule("iban", r"(?i)\biban[\w .:=#\"'\-]{0,12}?(?<![a-z0-9])(?P<s>[a-z]{2}\d{2}(?:[ .\-]?(?=[a-z]{0,3}\d)[a-z0-9]{1,4}){3,8})(?![a-z0-9])", holds=checks.is_number_of),
    named("code", rf"{words.BOUND}{words.CODE}", r"[\"'`\]]{0,2}(?:[ \t]{0,2}(?:code|number|no\.?|nr\.?|value|\(\w{1,12}\)))?[ \t]{0,2}(?:(?:=>|:=|[=:#\uff1a\uff1d]|(?:\b(?:is|was|ist|est|es|[eé]|to|of|jest|it)\b|[\u662f\u4e3a\u306f]|:))[ \t]{0,2}){1,2}[\[(]?[\"'`]?(?P<s>\d{3,10}|\d{3}[ \-]\d{3}|(?=[A-Z0-9\-]{0,11}\d)[A-Z0-9]{3,6}-[A-Z0-9]{3,6})(?![\w.]\w|:\d)"),
    rule("code", r"(?i)\b(?:otp|one[- ]time (?:pass)?(?:code|password|pin)|verification code|security code|cvv2?|cvc2?|pin)[ \t](?P<s>\d{3,8})(?![\w.:])"),
    rule(
        "code",
        r"(?i)(?<![\w.:\-])(?P<s>\d{4,8}|[A-Z]-\d{4,8}) (?:is your|ist (?:ihr|dein)|est votre|es (?:su|tu)|[e\u00e8\u00e9] il tuo)\b[^\r\n]{0,40}?(?:code|pin|otp|passwor[td]|c[o\u00f3]digo|codice|kennwort)",
        needs=(" is your", " ist ihr", " ist dein", " est votre", " es su", " es tu", " il tuo"),
    ),
    rule("card", rf"(?:{HIDDEN}|\d{{4}})[^\r\n]{{0,24}}?(?i:\b(?:exp(?:iry|ires?|iration)?(?: date)?|valid(?: thru| until)?|mm/yy)\b)[ .:=]{{0,3}}(?P<s>\d{{1,2}}[/\-]\d{{2,4}})(?!\d)"),
    rule("phone", rf"\+(?<![\w.+/\-]\+){INTERNATIONAL}", NUMBERS, holds=checks.is_phone_alone),
    rule("phone", rf"00(?<![\w.+/:,\-]00)(?=[1-9])(?!\d{{4}} ){INTERNATIONAL}", NUMBERS, holds=checks.is_phone_abroad),
    rule("phone", r"\((?<![\w+]\()[2-9]\d\d\) ?\d{3}[ .\-]\d{4}(?!\w)", NUMBERS),
    rule("phone", r"(?i)\btel:(?P<s>\+?[\d\-().]{7,20})"),
    named("phone", rf"{words.BOUND}{words.PHONE}", rf"(?:[ _.\-]?(?:numbers?|no\.?|nr\.?|num|nummer|n[uú]mero|\u53f7\u7801?|\u756a\u53f7|\ubc88\ud638|\u043d\u043e\u043c\u0435\u0440|home|work|1|2))?{LOOSE}(?P<s>[+(]?\d[\d ().\-/]{{5,22}}\d)(?![\w:])", holds=checks.is_phone),
    named("birth_date", rf"{words.BOUND}{words.BORN}", rf"[\"'`\]]{{0,2}}[ \t]{{0,3}}(?:=>|[:=>\uff1a]|\bis\b|\bon\b|\u662f|\u4e3a)?[ \t]{{0,3}}[\"'`]?(?P<s>{DATE})"),
    named(
        "id_number",
        rf"{words.BOUND}{words.NUMBER_OF}", rf"(?:'?s?(?:[ _.\-]?(?:numbers?|no\.?|nr\.?|num|nummer|n[uú]mero|n[°º]|id|code|card|\u53f7\u7801?|\u756a\u53f7|\ubc88\ud638|\u043d\u043e\u043c\u0435\u0440)){{0,2}})(?![^\W\d_]){LOOSE}{NUMBER}",
        holds=checks.is_number_of,
    ),
    rule("id_number", rf"{words.BOUND}{words.NUMBER_OF_IN_CAPITALS}(?![A-Za-z])(?: ?(?:No\.?|no\.?|Nr\.?|number|#))?(?=[^\w]){LOOSE}{NUMBER}", holds=checks.is_number_of),
    rule("id_number", rf"(?i){words.BOUND}{words.NUMBER_OF_IN_FIELDS}[\"'\]]?\s?(?:=>|[=:])\s?[\"']?{NUMBER}",
          needs=" ".join(f"{name}{sign}" for name in words.FIELDS for sign in ("=", ":", "\"", "'", "]")), holds=checks.is_number_of),
    rule("id_number", r"(?<![\w.\-])(?P<s>(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4})(?![\w\-]|\.\d)|(?<![\w.\-])(?P<s1>\d{3}\.\d{3}\.\d{3}-\d{2})(?![\w\-])|(?<![\w.\-])(?P<s2>\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2})(?![\w\-])|(?<![\w])(?P<s3>[1-8][1-9]\d{4}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx])(?!\w)",
          NUMBERS),
    named("id_number", rf"{words.BOUND}vin", r"[\"']?[ \t]{0,2}[:=#]?[ \t]{0,2}[\"']?(?P<s>[a-hj-npr-z0-9]{17})(?!\w)", holds=checks.is_number),
    rule("id_number", r"(?i)\brouting[\w .:#=]{0,24}\d{9}\D{1,24}(?P<s>\d{6,17})(?!\d)"),
    rule("id_number", rf"(?i)\bsort[ _]?code[\w .:#=\"]{{0,12}}(?:\d\d-?\d\d-?\d\d|{HIDDEN}+)\D{{1,24}}(?P<s>\d{{6,10}})(?!\d)"),
    rule("id_number", rf"\b(?:RFC|rfc)[\"']?{LOOSE}(?P<s>[A-Z&]{{3,4}}\d{{6}}[A-Z0-9]{{2,3}})\b", needs="RFC rfc"),
    named("id_number", rf"{words.BOUND}(?:upi|vpa)(?:[ _\-]?id)?", rf"{SEP}[\"']?(?P<s>[\w.\-]{{2,64}}@[a-z][a-z0-9]{{1,32}})(?![\w.])"),
    named("name", rf"{words.BOUND}{words.NAME_OF}", rf"[\"'`\]]{{0,2}}[ \t]{{0,2}}(?:=>|[:=>\uff1a])[ \t]{{0,2}}(?:\"(?P<s>[^\"\d{HIDDEN}]{{2,80}})\"|'(?P<s1>[^'\d{HIDDEN}]{{2,80}})'|(?P<s2>[^\W\d_]+(?: [^\W\d_]+){{0,3}}))", holds=checks.is_name, part=checks.part_of_name),
    named("address", rf"{words.BOUND}{words.STREET}", rf"[\"'`\]]{{0,2}}[ \t]{{0,2}}(?:=>|[:=>\uff1a])[ \t]{{0,2}}(?:\"(?P<s>[^\"{HIDDEN}]{{4,160}})\"|'(?P<s1>[^'{HIDDEN}]{{4,160}})'|(?P<s2>[^\s,;\"'{HIDDEN}][^,;\"'\r\n{HIDDEN}]{{3,80}}))", holds=checks.is_address),
    rule("position", r"(?i)\b(?:lat(?:itude)?)[\"']?\s?[:=]\s?[\"']?(?P<s>-?\d{1,2}\.\d{3,})[\"']?[,;& ]{1,3}[\"']?(?:lon|lng|long|longitude)[\"']?\s?[:=]\s?[\"']?(?P<s1>-?\d{1,3}\.\d{3,})"),
    rule(
        "ip",
        r"(?<![\w.:])(?P<s>\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w]|\.\d)|[0-9A-Fa-f:]{2,39}(?:\d{1,3}(?:\.\d{1,3}){3})?)(?![\w:])",
        r"\d\.\d|:[0-9A-Fa-f]*:",
        holds=checks.is_ip,
    ),
    rule("mac", r"(?<![\w:\-.])(?P<s>[0-9A-Fa-f]{2}([:\-])(?:[0-9A-Fa-f]{2}\2){4,6}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![\w:\-]|\.\w)", r"[0-9A-Fa-f]{2}[:\-.][0-9A-Fa-f]{2}"),
    rule(
        "high_entropy",
        r"(?<![A-Za-z0-9+/_\-])(?P<s>[A-Za-z0-9+/_\-]{32,}+={0,2}+)",
        LONG,
        holds=checks.is_random,
    ),
    rule("random", r"(?<![A-Za-z0-9])(?P<s>[0-9a-f]{32,}+|[0-9A-F]{32,}+)(?![A-Za-z0-9])", r"[0-9a-fA-F]{32}", holds=checks.is_secret_hex),
    rule("random", r"(?<![A-Za-z0-9+/_\-])(?P<s>[A-Za-z0-9+/_\-]{20,}+={0,2}+)", r"[A-Za-z0-9+/_\-]{20}", holds=checks.is_random),
    # A seed phrase stands for itself: no sentence goes on around it.
    rule("random", r"(?:^|[\n\"':=])\s{0,3}(?P<s>[a-z]{3,8}(?: [a-z]{3,8}){11,23})(?=\s{0,3}(?:$|[\"'\r\n<]))", r"[a-z]{3,8}(?: [a-z]{3,8}){11}"),
)
# fmt: on

ON_REQUEST = {"ip": ("ip", "mac"), "entropy": ("random",)}
"""Types that a setting asks for."""

LIBRARY = "token"
"""The type of what only the kept library finds."""

TYPES: tuple[str, ...] = tuple(dict.fromkeys((*(rule.name for rule in RULES), LIBRARY, *ON_REQUEST)))
"""The built-in types: the words of placeholders and of `disable`."""


@lru_cache(1)
def fingerprint() -> str:
    """Of all rules: what was made of texts by other rules may hold what these hide."""
    # A set is written in another order by each process.
    said = repr([(rule.name, rule.source, sorted(rule.needs or ())) for rule in RULES])
    return blake2b(said.encode(), digest_size=8).hexdigest()
