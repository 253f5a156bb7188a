"""Tokens that their form gives away: prefixes and bodies, by type."""

from __future__ import annotations

import re
from collections.abc import Iterator

from exporter.ingest.redaction import checks
from exporter.ingest.redaction.pieces import LONG, RARE, START
from exporter.ingest.redaction.rule import LONGEST_HEAD, Rule
from exporter.ingest.redaction.stems import stems

# Prefix and body of tokens. No token is part of a word: each begins after a sign.
_W, _A, _H = r"[\w\-]", r"[A-Za-z0-9]", r"[0-9a-fA-F]"

CRYPT = r"\$(?:2[abxy]?|1|5|6|7|y|gy|apr1|md5|sha1|P|H|S|argon2(?:id|i|d)?|scrypt|pbkdf2(?:-\w{1,8})?|bcrypt-sha256|krb5\w{1,12}|DCC2|ml|NT|8|9|14|sm3)\$"

NETNTLM = r"[\w.\-]{1,32}::[\w.\-]{1,32}:[0-9a-fA-F]{16,48}:"

# fmt: off
FORMS: dict[str, tuple[tuple[str, str], ...]] = {
    "aws_key": ((r"AKIA|ASIA|AGPA|AROA|AIDA|AIPA|ANPA|ANVA|ABIA|ACCA|APKA|ASCA", r"[A-Z0-9]{16}\b"), (r"A3T[A-Z0-9]", r"[A-Z0-9]{16}\b"), ("ABSK", r"[A-Za-z0-9+/]{100,}+={0,2}")),
    "gcp_key": (
        ("AIza", r"[\w\-]{30,}+"), (r"ya29\.", r"[\w\-.]{20,}+"), ("GOCSPX-", r"[\w\-]{20,}+"), ("1//0", r"[\w\-]{30,}+"), (r"AAAA[\w\-]{7}:APA91b", r"[\w\-]{50,}+"),
        ("GOOG", r"(?:1E)?[A-Z0-9]{20,}+"), (r"AQ\.Ab", r"[\w\-]{30,}+"), (r"\d{6,14}-", r"[a-z0-9]{32}\.apps\.googleusercontent\.com"),
    ),
    "github_token": (("gh[pousr]_", r"[A-Za-z0-9]{16,}+"), ("github_pat_", r"\w{20,}+"), (r"v1\.", r"[0-9a-f]{40}\b")),
    "slack_token": ((r"xox[a-z]-", r"[\w\-/+%]{10,}+=*"), (r"xoxe\.xox[a-z]-", r"[\w\-]{10,}+"), ("xapp-", r"[\w\-]{10,}+")),
    "api_token": (
        # Builds and code
        (r"gl(?:pat|rt|dt|ptt|cbt|ft|agent|soat|oas|imt|ffct|wt)-", r"[\w\-.]{16,}+"), ("GR1348941", _W + "{16,}+"), ("AT[BC]B", _A + "{20,}+"), ("ATATT", r"[\w\-=]{20,}+"), ("ATCTT", r"[\w\-=]{20,}+"),
        ("BBDC-", r"[A-Za-z0-9+/]{20,}+=*"), (r"CCI(?:PAT|PRJ)_", r"\w{20,}+"), (r"bk(?:ua|aa|aj|ar|ct|pt|pat|ps|oa)?_", r"[\w\-]{30,}+"), (r"[A-Za-z0-9]{14}\.atlasv1\.", r"[\w\-=]{40,}+"), ("pul-", _H + "{40}"),
        (r"dp\.(?:pt|st|ct|sa|scim|audit)\.", r"[\w\-.]{30,}+"), (r"hv[sbr]\.", r"[\w\-]{16,}+"), (r"s\.", _A + r"{24}\b"), ("ops_eyJ", r"[\w+/\-]{40,}+=*"), (r"A3-[A-Z0-9]{6}-", r"[A-Z0-9\-]{24,}+"), ("AGE-SECRET-KEY-1", "[A-Z0-9]{40,}+"),
        ("npm_", _A + "{30,}+"), ("pypi-", r"[\w\-]{40,}+"), ("rubygems_", _H + "{40,}+"), ("oy2", r"[a-z0-9]{43}\b"), (r"dckr_[po]at_", r"[\w\-]{20,}+"), ("cio", _A + r"{32}\b"), ("AKCp", _A + "{40,}+"), ("cmVmd", _A + "{40,}+"),
        ("CLOJARS_", _H + "{40,}+"), ("squ_|sqp_|sqa_", _H + "{30,}+"), ("sgp_", r"(?:[0-9a-fA-F]{16}_|local_)?[0-9a-fA-F]{40,}+"), (r"packagist_\w{3}_", _H + "{20,}+"), ("FLWSECK(?:_TEST)?-", r"[A-Za-z0-9]{12,}+(?:-X)?"),
        ("PMAK-", r"[0-9a-fA-F]{24}-[0-9a-fA-F]{34}"), ("PMAT-", r"[A-Z0-9]{20,}+"), ("API-", r"[A-Z0-9]{25,}+"), ("ico-", _A + r"{32}\b"), ("rnd_", _A + "{24,}+"), ("tk-us-", _W + "{40,}+"), ("SWM(?:TKN|KEY)-1-", r"[\w+/\-]{30,}+"),
        (r"K10[0-9a-f]{64}::", r"[\w:]{10,}+"), (r"sha256~", r"[\w\-]{40,}+"), (r"pnu_|pnb_", _A + "{30,}+"), ("ion_", _A + r"{40,}+"), ("aio_", _A + r"{28}\b"), ("exp_", _A + "{30,}+"), ("rpa_", _A + "{30,}+"), ("tfe_|atlas_", _A + "{30,}+"),
        (r"v2\.", r"[a-z0-9]{20}\b"), (r"depot_\w{3,8}_", _H + "{40,}+"), (r"kubeconfig-[\w\-]{1,32}:", r"[a-z0-9]{40,}+"), (r"at_[A-Za-z0-9]{10}_", _A + "{40,}+"),
        # Clouds and hosting
        (r"do[opr]_v1_", _H + "{40,}+"), ("LTAI", _A + r"{12,24}\b"), (r"STS\.", _A + "{16,}+"), ("AKID", _A + r"{13,40}\b"), ("AQVN|YCA?J?", r"[\w\-]{35,}+"), (r"t1\.", r"[\w\-=]{20,}+\.[\w\-=]{60,}+"), (r"y[0-3]_", r"[\w\-]{50,}+"),
        (r"FlyV1 fm\d?_|fm[12]_|fo1_", r"[\w\-+/=,]{30,}+"), ("HRKU-", r"[\w\-]{30,}+"), ("nfp_|nfc_|nfo_|nfu_|nfb_", _A + "{30,}+"), (r"vc[pkcari]_", _A + "{40,}+"), ("sbp_", r"[\w\-]{36,}+"), (r"sb_(?:secret|publishable)_", r"[\w\-]{20,}+"),
        (r"pscale_(?:pw|tkn|oauth)_", r"[\w\-=.]{30,}+"), (r"dapi|dose|dkea", _H + r"{32}(?:-\d)?\b"), (r"v1\.0-", r"[0-9a-f]{24}-[0-9a-f]{100,}+"), (r"cf[uak]t_", _A + "{40,}+"), ("SCW", r"[A-Z0-9]{17}\b"), ("EXO", r"[a-z0-9A-Z]{24,30}\b"),
        (r"napi_|neon_", r"[\w\-]{40,}+"), (r"mdb_sa_\w{2}_", r"[\w\-]{20,}+"), (r"essu_|xata_|xau_|tskey-\w{3,12}-|nkey_", r"[\w\-]{20,}+=*"), ("AstraCS:", r"[\w:\-]{20,}+"), (r"CCDB1_", r"\w{30,}+"), ("4b1d", _A + r"{38}\b"), (r"ucat_|ubi_", _A + "{20,}+"),
        ("r8_", _A + r"{30,}+"), ("re_", _A + r"{6,10}_[A-Za-z0-9]{18,}+"), (r"ddp_|ddo_|ddw_", _A + r"{30,}+"), (r"rt_", _A + r"{40,}+"), (r"koyeb_|civo_|nuc_", _A + "{30,}+"), ("CPLN|kpat_|konnect_|npat_", r"[\w\-]{25,}+"),
        (r"amzn\.mws\.", r"[0-9a-f\-]{36}\b"), (r"oc_|ocid_token_", _A + "{40,}+"),
        # Models
        (r"sk-(?:proj|svcacct|admin|None|ant-[a-z0-9]{2,12}|or-v\d|lf|api|kimi|cp|live|test|user|[a-z]{2,10})-", r"[\w\-]{20,}+"), ("sk-", r"[A-Za-z0-9]{20,}+"), ("hf_|api_org_", "[A-Za-z0-9]{30,}+"), ("gsk_", _A + "{40,}+"), ("xai-", r"[\w\-]{40,}+"),
        ("pplx-", _A + "{30,}+"), (r"lsv2_(?:pt|sk)_", r"[\w]{20,}+"), ("pcsk_", r"\w{30,}+"), (r"pk-lf-", r"[\w\-]{20,}+"), ("nvapi-", r"[\w\-]{40,}+"), ("tgp_v1_", r"[\w\-]{30,}+"), ("fw_|fpk_", _A + "{22,}+"), ("csk-", r"[a-z0-9]{40,}+"), ("pa-|al-", r"[\w\-]{43}\b"),
        ("llx-", _A + "{40,}+"), (r"jina_", _A + "{40,}+"), ("AIK_\\w{2,8}_", _A + "{16,}+"), ("tvly-", r"[\w\-]{20,}+"), (r"wandb_v1_", r"\w{40,}+"), ("BSA", r"[\w\-]{27,}+"), ("key_", _H + "{60,}+"), ("esecret_", _A + "{20,}+"), ("ms-", r"[0-9a-f]{8}-[0-9a-f\-]{27}\b"),
        # Payment and shops
        (r"(?:sk|rk|pk|ek)_(?:live|test|prod)_", r"\w{10,}+"), (r"whsec_|rwsec_|sigsec_", r"[\w+/=]{20,}+"), ("EAAA", r"[\w\-]{40,}+"), (r"sq0(?:atp|csp|idp|idb)-", r"[\w\-]{20,}+"), (r"access_token\$(?:production|sandbox)\$", r"[a-z0-9]{16}\$?[0-9a-f]{32}\b"),
        ("AQE", r"[A-Za-z0-9+/*^=\-]{80,}+"), (r"shp(?:at|ca|pa|ss|tka|ua)_", _A + "{30,}+"), (r"rzp_(?:live|test)_", _A + r"{14}\b"), (r"access-(?:production|development|sandbox)-", r"[0-9a-f\-]{36}\b"), (r"(?:live|test)_", _A + r"{30,40}\b"), (r"xnd_\w{4,12}_", r"[\w]{30,}+"),
        (r"pdl_\w{4,12}_apikey_|pdl_\w{3,8}_", r"\w{26,}+"), (r"shippo_(?:live|test)_", _H + "{40}"), ("EZ[AT]K", _A + "{40,}+"), (r"duffel_(?:live|test)_", r"[\w\-=]{30,}+"), (r"\$aact_", r"[\w$:+/=\-]{30,}+"), (r"APP_USR-|TEST-", r"\d{10,}-\d{6}-[0-9a-f]{32}(?:-\d+)?"),
        (r"sk_[a-z]{3,10}_", _A + r"{20,}+"), (r"ck_|cs_", _H + r"{40}\b"), ("AZ", r"[A-Za-z0-9_\-]{78}\b"), (r"gocardless_|gc_live_|live_gc_", r"[\w\-]{30,}+"), (r"polar_\w{2,4}_", r"[\w\-]{20,}+"), (r"sk_(?=[a-z]*\d)", r"[A-Za-z0-9\-]{28,}+"),
        # Mail, chat, monitoring, and what else there is
        (r"SG\.", r"[\w\-]{16,}+\.[\w\-]{16,}+"), ("key-", r"[0-9a-f]{32}\b"), (_H + "{32}", r"-us\d{1,2}\b"), (r"xkeysib-|xsmtpsib-", r"[0-9a-f]{40,}+-\w{12,}+"), ("SK|AC", r"[0-9a-f]{32}\b"), (r"mlsn\.|pm_", r"[A-Za-z0-9]{30,}+"),
        (r"gl(?:sa|c)_", r"[\w+/=\-]{20,}+"), ("eyJrIjoi", r"[A-Za-z0-9+/]{30,}+=*"), (r"NR(?:AK|AA|II|IQ|BR|JS|SP|RA)-", r"[\w\-]{18,}+"), (r"[0-9a-fA-F]{30,40}", r"(?:FFFF)?NRAL\b"), (r"sntry[us]_", r"[\w+/=\-]{30,}+"), (r"dt0[a-z]\d\d\.", r"[A-Z0-9]{20,}+\.[A-Z0-9]{40,}+"),
        (r"hc[abm]?[io]k_", r"[a-z0-9]{30,}+"), (r"phx_|phc_|phs_", r"[\w\-]{30,}+"), (r"lin_(?:api|oauth|wh)_", _A + "{30,}+"), (r"ntn_|secret_", _A + "{40,}+"), (r"pat[A-Za-z0-9]{14}\.", _H + "{40,}+"), (r"fig[dour]_|figo[rh]_", r"[\w\-]{30,}+"),
        (r"[012]/\d{14,19}(?:/\d{14,19})?:", _H + r"{32}\b"), ("CFPAT-", r"[\w\-]{40,}+"), (r"sk\.eyJ|pk\.eyJ|tk\.eyJ", r"[\w\-]{20,}+\.[\w\-]{10,}+"), (r"pat-\w{2,4}\d?-", r"[0-9a-f\-]{36}\b"), (r"sl\.(?:u\.)?", r"[\w\-]{100,}+"), (r"EAA[A-Z]", _A + "{60,}+"),
        (r"WPL_AP\d\.", r"[\w.=+/\-]{16,}+"), (r"rdme_|waka_|rootly_|samsara_api_|unkey_|vtwn_|nyk_|tss_|lip_|zpka_|prf_|cog_|pina_|apify_api_|apk_|mergify_application_key_", r"[\w\-]{16,}+"), (r"dvc_\w{4,8}_", r"[\w\-]{20,}+"), (r"sdk-", r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        (r"tfp_", r"[\w\-]{40,}+"), (r"fio-u-", r"[\w\-]{40,}+"), (r"KEY0", r"[\w]{40,}+"), (r"00D[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?!", r"[\w.]{60,}+"), (r"os_v2_\w{3}_", r"[a-z2-7]{60,}+"), (r"CLI_|OC-", r"[A-Za-z0-9]{30,}+"), ("cnvca", r"[\w\-]{40,}+"), ("amzn1\\.(?:oa2-cs|application-oa2-client)\\.", r"[\w.\-]{20,}+"),
        (r"Atz[ar]\|", r"[\w+/=\-]{30,}+"), (r"1000\.", r"[0-9a-f]{32}\.[0-9a-f]{32}"), (r"p8e-", r"[A-Za-z0-9\-]{32}\b"), ("pk_", r"\d{7,9}_[A-Z0-9]{32}\b"), (r"ATTA", _A + "{60,}+"), (r"EAAG|IGQV", r"[\w\-]{60,}+"), (r"oauth:", r"[a-z0-9]{30}\b"),
        (r"[A-Za-z0-9]{6}_", r"[A-Za-z0-9]{29}_mmk\b"), (r"\d{5,10}:AA", r"[\w\-]{32,36}"), (r"[MNO][A-Za-z\d_\-]{22,27}\.[\w\-]{6}\.", r"[\w\-]{26,}+"), (r"mfa\.", r"[\w\-]{80,}+"), (r"2[A-Za-z0-9]{26}_", r"[A-Za-z0-9]{20,}+"), (r"sm_[asp]at_", _A + "{16,}+"),
        (r"(?:pat|sat)\.[\w\-]{22}\.", r"[0-9a-f]{24}\.[A-Za-z0-9]{20}"), (r"S[UANCOX][A-Z2-7]{56}", r"\b"), (r"[A-Za-z0-9_~.]{3}\dQ~", r"[\w.~\-]{31,34}"), (r"[A-Za-z0-9]{60,84}AZDO[A-Za-z0-9]{4}", r""), (r"[0-9A-Fa-f]{32}\.", r"[A-Za-z0-9]{16}\b"),
        (r"(?:xaat|xapt|api|mob|sec|key|tok|pat|rk|sk|tk)-", r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), (r"(?:[\w*\-]{1,32}:){1,2}[\w*\-]{1,32}\.", _H + r"{40,}+"),
        (r"(?:sk|tk|tok|token|secret|apikey|api_key|pat|auth|apitoken|access|refresh|bearer|cred|priv|signing)[_\-](?:[a-z]{2,8}[_\-]){0,2}", r"[A-Za-z0-9]{24,}+"), (r"secret-(?:live|test)-", r"[\w\-]{24,}+=?"),
        (r"hg[A-Za-z0-9]{2}_|hook_|wh_|webhook_", r"[A-Za-z0-9]{32,}+"), ("xpub|xprv|ypub|zpub|yprv|zprv", r"[A-HJ-NP-Za-km-z1-9]{100,}+"), (r"PVTkey_|secret-token:", r"[\w\-+/=]{10,}+"), (r"lcl_|lat_|lpat_|ldp_", _A + "{30,}+"),
    ),
    "password_hash": (
        (CRYPT, r"[\w./+=,$@*#%\-:~]{16,}+"),
        (r"\$[PHS]\$", r"[\w./]{28,}+"), (r"\{(?:S?SHA(?:256|384|512)?|SMD5|MD5|CRYPT|PBKDF2[\w\-]{0,12}|ARGON2|BCRYPT|bcrypt|noop|NTLM)\}", r"[\w./+=$\-]{8,}+"),
        (r"(?:pbkdf2_sha\d{1,3}|pbkdf2:sha\d{1,3}(?::\d{1,7})?|argon2\$\w{1,12}|bcrypt_sha256\$|scrypt(?::\d{1,7}){0,3}|sha1|sha256|sha512|md5)\$", r"[\w./+=,$\-]{16,}+"), (r"SCRAM-SHA-(?:1|256|512)\$", r"[\w+/=$:]{30,}+"), (r"\*", r"[0-9A-F]{40}\b"),
        (r"md5", r"[0-9a-f]{32}\b"), (r"[0-9a-fA-F]{32}:", r"[0-9a-fA-F]{32}\b"), ("0x0[12]00", r"[0-9A-Fa-f]{40,}+"), (r"\w{1,32}:\d{3,6}:[0-9a-fA-F]{32}:", r"[0-9a-fA-F]{32}"), (NETNTLM, r"[0-9a-fA-F:]{32,}+"),
    ),
}
# fmt: on
"""Types, and the prefixes and bodies of their tokens."""


SHORT = 3

RARE_FORMS = (
    "s\\.",
    r"[012]/\d{14,19}(?:/\d{14,19})?:",
    r"\*",
    r"[0-9a-fA-F]{32}:",
    r"\w{1,32}:\d{3,6}:[0-9a-fA-F]{32}:",
    CRYPT,
    NETNTLM,
)


def forms() -> Iterator[Rule]:
    """A rule for each prefix: what is in few texts is looked for first."""
    for name, tokens in FORMS.items():
        holds = checks.is_key_id if name == "aws_key" else checks.is_formed
        for prefix, body in tokens:
            of_prefix, of_all = stems(f"{START}(?:{prefix})"), stems(f"(?:{prefix}){body}")
            source = f"{START}(?:{prefix}){body}"
            head = f"{START}(?:{prefix})" if _most(prefix) <= LONGEST_HEAD else ""
            if not _is_common(of_prefix):
                yield Rule(name, source, needs=of_prefix, head=head, holds=holds)
            elif not _is_common(of_all):
                yield Rule(name, source, needs=of_all, holds=holds)
            else:
                yield Rule(name, source, RARE if prefix in RARE_FORMS else LONG, holds=holds)


def _most(pattern: str) -> int:
    """Characters of what a pattern matches."""
    return int(vars(re)["_parser"].parse(pattern).getwidth()[1])


def _is_common(known: frozenset[str] | None) -> bool:
    """Of one or two letters is much else, too."""
    return known is None or min(map(len, known)) < SHORT
