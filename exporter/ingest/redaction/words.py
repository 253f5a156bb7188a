"""What secrets and personal data are called, in the commonest languages: parts of the patterns in rules.py."""

from __future__ import annotations

import re

BOUND = r"(?<![^\W_])"
"""Not inside of a word: `compass=` is none of `pass=`."""


def any_of(*words: str) -> str:
    """A pattern of several words; where one has a blank, a sign may stand, or nothing.

    >>> any_of("mot de passe|senha")
    '(?:mot[ _.\\\\-]?de[ _.\\\\-]?passe|senha)'
    """
    return "(?:" + re.sub(r"(\[[^\]]*\])| \??", lambda match: match[1] or r"[ _.\-]?", "|".join(words)) + ")"


# Words that mean nothing else: whatever follows them is hidden.
PASSWORD = any_of(
    # English, German, French, Spanish, Portuguese, Italian, Dutch
    "passw(?:or[dt]|rd|d)?|pass phrase|pass code|pwd|psswd|passwrt",
    "kennwort|geheimzahl|zugangscode|losungswort",
    "mots? de passe|phrase secr[eè]te|code secret",
    "contrase[nñ]a|palabra secreta|clave secreta|clave de acceso",
    "palavra passe|frase secreta|chave secreta",
    "parola d'ordine|parola chiave|chiave segreta|codice segreto",
    "wachtwoord|toegangscode|wagwoord",
    # Polish, Czech, Hungarian, Scandinavian, Finnish, Baltic, South Slavic, Romanian, Greek, Turkish
    "hasło|hasłem|haslo|haslem|heslo|heslem|jelsz[oó]|l[oö]senord|adgangskode|passord|kodeord|salasana|slapta[zž]odis|lozink[ae]"
    "|parol[aă]|κωδικ[οό]ς|συνθηματικ[οό]|(?:ş|s)ifre(?:si|niz|n)?",
    # Russian, Ukrainian, Bulgarian
    "парол[ьяіюе]|паролем|пароль|парола",
    # Chinese, Japanese, Korean
    "密[码碼]|口令|暗[码碼]|密[钥鑰]|パスワード|パスコード|暗証番号|パスフレーズ|合言葉|비밀번호|패스워드|암호|비번",
    # Arabic, Persian, Hebrew, Hindi, Bengali, Thai, Vietnamese, Indonesian
    "كلمة المرور|كلمة السر|الرقم السري|كلمه المرور|رمز عبور|گذرواژه|סיסמ[הא]|पासवर्ड|कूटशब्द|পাসওয়ার্ড|รหัสผ่าน|"
    "mật khẩu|mat khau|kata sandi|kata laluan|password'ler",
)

# Words that are parts of others, or mean something else as well.
BOUND_PASSWORD = any_of("senha|geslo|sandi|parool|jelige|mdp|psw|pswd|mot passe")
WEAK_PASSWORD = any_of(
    "pass|pw|clave|parole|contra|sifra|pin code|pass wd|access code|code d'acc[eè]s|c[oó]digo de acc?es[so]o?|codice di accesso"
    "|код доступа|kod dost[eę]pu|p[rř][ií]stupov[yý] k[oó]d|adgangskode|tilgangskode|[aå]tkomstkod|eri[sş]im kodu|tajn[eé] heslo"
)

SECRET = any_of(
    "secrets?|credentials?|api ?keys?|proxy auth|pre shared key|psk|pin block|wpa passphrase|encrypted pin"
    "|(?:access|account|private|encryption|encrypt|decryption|signing|sign|shared|master|auth|license|licence|subscription"
    "|client|server|session|service|storage|webhook|consumer|application|app|deploy|deployment|integration|ingest|write"
    "|admin|root|bot|publishable|restricted|primary|secondary|hmac|cookie|crypto|cipher|aes|rsa|ssh|tls|ssl|jwt|symmetric"
    "|data|kms|registration|instrumentation|machine|product|host|funcs?|functions?|user|team|org|personal) ?key"
    "|key ?material|seed phrase|mnemonic(?: phrase)?|recovery (?:phrase|code|key)s?|backup codes?|security answer"
    "|secret answer|antwort auf die sicherheitsfrage|geheimnis|geheimer? schl[uü]ssel|secreto|cl[eé] (?:secr[eè]te|api"
    "|priv[eé]e)|segredo|chave (?:de api|privada)|chiave (?:api|privata)|segreto|geheime? sleutel|klucz (?:api|prywatny)"
    "|секретный ключ|секрет|ключ api|秘[密钥鑰鍵]+|密鍵|私[钥鑰鍵]|シークレット|시크릿|비밀키|مفتاح سري|gizli anahtar|api anahtar[ıi]"
    "|(?:store|key|keystore|truststore|bind|root|sudo|become|vault|smtp|mail|email|ftp|ssh|ldap|redis|user|db|admin|sasl|proxy"
    "|http|auth|login|wifi|mysql|pg|sql|my|new|old|client|server|app) pass|bind pw|root pw|user pw|db pw|admin pw|wifi key|psk key"
    "|community string|r[ow]community|snmp community"
    "|(?:llave|clave) (?:secreta|privada|de acceso|de api|api|maestra)|cl[eé] (?:d'acc[eè]s|de chiffrement|ma[iî]tresse|d'api)"
    "|chave (?:secreta|de acesso|api|mestra)|chiave (?:di accesso|segreta|privata|di cifratura)"
    "|(?:api|zugriffs|zugangs|geheimer|privater|privat|sicherheits|verschl[uü]sselungs) ?schl[uü]ssel"
    "|(?:api|toegangs|priv[eé]|geheime) ?sleutel|(?:tajny|prywatny) klucz|klucz (?:tajny|dost[eę]pu)"
    "|(?:tajn[yýé]|soukrom[yý]|s[uú]kromn[yý]|api) kl[ií][cč]|(?:hemlig|privat|api) ?nyckel|(?:hemmelig|privat|api) ?n[oø](?:gle|kkel)"
    "|hemlighet|hemmelighed|hemmelighet|tajemstv[ií]|tajn[aá]|titok|titkos kulcs|api kulcs|salaisuus|salainen avain|api avain"
    "|ключ доступа|(?:закрытый|приватный) ключ|ключ шифрования|таємний ключ|ключ доступу|(?:gizli|api|eri[sş]im|[oö]zel) anahtar[ıi]?"
    "|アクセスキー|秘密の?鍵|apiキー|(?:api|액세스|비밀|개인|접근) ?키|مفتاح (?:api|الوصول|خاص)|khóa (?:bí mật|api|riêng)|kunci (?:rahasia|api|privat)"
    "|rahasia|(?:गुप्त|एपीआई) कुंजी|מפתח (?:סודי|api)|μυστικ[οό] κλειδ[ιί]|คีย์ลับ|cheie (?:secret[aă]|api|privat[aă])|tajni klju[cč]"
    "|memorable (?:word|phrase|answer|date|place)|security word|pet name|wort der sicherheit|frase de recuperaci[oó]n"
    "|enable secret|secret word|passwort hash|pw hash|pass hash|auth string|auth data|connect string"
)

TOKEN = any_of(
    "tokens?|token id|jeton|токен|トークン|令牌|凭证|凭据|訪問憑證|토큰|رمز (?:الوصول|مميز|التوثيق)|אסימון|टोकन|โทเค็น|διακριτικ[οό]|belirte[cç]|maркер|"
    "x amz signature|x goog signature|x amz security|client assertion"
    "|code verifier|device code|auth code|authorization code|saml ?(?:response|request)|hmac|jenkins crumb|crumb|ticket"
    "|tgt|nonce|otp ?secret|totp|auth cookie|sso|fastly key|x honeycomb team|x api key|deploy ?pat|access ?pat|github pat"
)

SESSION = any_of(
    "jsessionid|phpsessid|aspsessionid\\w{0,12}|asp\\.net sessionid|cfid|cftoken|sess(?:ion)? ?(?:id|key|token|cookie|hash)?"
    "|connect\\.sid|sid|session|csrf(?:token)?|xsrf(?:token)?|csrf middleware ?token|remember(?:_me)?(?: token)?|laravel session"
    "|authenticity ?token|sessiond|sails\\.sid|koa\\.sess|ci session|wordpress logged in\\w{0,40}|_gitlab_session"
)

CODE = any_of(
    "otp|totp|mfa|2fa|mtan|tan (?:code|nummer)|cvv2?|cvc2?|csc|cvn|cid|card verification (?:value|code)|pin|pin code|pincode|passcode|geheimzahl",
    "(?:one time|verification|security|confirmation|authentication|sms|activation|recovery|2fa|mfa|login|access|auth|reset"
    "|backup|pairing|unlock|door|pickup|otp) (?:pass)?(?:code|pin|password)",
    "tan|itan|einmal (?:passwort|code|kennwort)|engangs(?:kode|passord|kod|adgangskode)|eenmalige? (?:code|wachtwoord)"
    "|code (?:[aà] usage unique|sms)|c[oó]digo (?:sms|otp|[uú]nico|de un solo uso|de uso [uú]nico|de acceso temporal)|codice (?:otp|sms|temporaneo)"
    "|kod (?:jednorazowy|sms|z sms)|jednor[aá]zov[yýé] (?:k[oó]d|heslo)|одноразовый (?:код|пароль)|код (?:проверки|из sms|авторизации)"
    "|ワンタイムパスワード|일회용 비밀번호|一次性密码|动态码|动态口令|短信验证码|tek kullan[ıi]ml[ıi]k (?:[sş]ifre|kod)|kode (?:otp|verifikasi)|m[aã] otp"
    "|κωδικ[οό]ς επαλήθευσης|קוד אימות|รหัส otp|bekr[aæ]ftelseskode|verifieringskod|vahvistuskoodi|ellen[oő]rz[oő] k[oó]d|cod de verificare",
    "best[aä]tigungscode|sicherheitscode|pr[uü]fziffer|code de (?:v[eé]rification|s[eé]curit[eé]|confirmation)|cryptogramme"
    "|c[oó]digo de (?:verificaci[oó]n|seguridad|confirmaci[oó]n)|c[oó]digo de (?:verifica[cç][aã]o|seguran[cç]a)"
    "|codice di (?:verifica|sicurezza)|verificatiecode|kod weryfikacyjny|код подтверждения|код из смс|пин(?: код)?|пинкод"
    "|验证码|驗證碼|校验码|安全码|確認コード|認証コード|인증번호|인증 코드|رمز التحقق|do[gğ]rulama kodu|सत्यापन कोड|mã xác nhận|ma xac nhan",
)

PHONE = any_of(
    "(?:tele)?phones?|tel|cell|cellphone|mobile|mobil|msisdn|fax|whatsapp|sms to|caller|callee|called party|calling party",
    "telefon(?:nummer)?|handy|handynummer|rufnummer|mobilnummer|mobilfunk|t[eé]l[eé]phone|portable|tel[eé]fono|m[oó]vil",
    "celular|telefone|telem[oó]vel|cellulare|telefono|telefoon|gsm|numer telefonu|kom[oó]rka|telefonn[ií]|puh(?:elin)?",
    "телефон(?:а|у|ом)?|мобильный|тел|电话|電話|手机|手機|联系方式|携帯|전화|휴대폰|핸드폰|هاتف|جوال|رقم الهاتف|telefon numaras[ıi]",
    "फ़ोन|फोन|मोबाइल|số điện thoại|so dien thoai|nomor (?:telepon|hp)|טלפון|τηλ[eέ]φωνο",
)

NUMBER_OF = any_of(
    # The United States, Canada, Britain, Ireland, Australia, New Zealand, South Africa
    "ssn|social security|social insurance|itin|tax ?payer(?: id)?|tax (?:id|number|no|file number|code)|nino|national insurance"
    "|nhs|utr|ppsn?|tfn|medicare|ird|national id(?:entity)?|national identification|identity|id ?card|identity ?card|citizen id"
    "|government id|personal id|personal (?:identity )?(?:number|no|code)|green ?card|alien (?:registration )?number|said",
    # Passports, licences, vehicles, in several languages
    "passport|pass ?nummer|reisepass|passeport|pasaporte|passaporte|passaporto|paspoort|paszport|паспорт|护照|護照|旅券"
    "|パスポート|여권|جواز السفر|pasaport|पासपोर्ट|hộ chiếu|ho chieu"
    "|driv(?:er|ing)(?:'?s|s)? ?licen[cs]e|driver ?licen[cs]e|dl number|f[uü]hrerschein|permis de conduire|licencia de conducir"
    "|carn[eé] de conducir|carteira de motorista|cnh|patente(?: di guida)?|rijbewijs|prawo jazdy|водительское удостоверение"
    "|驾驶证|驾照|免許証|운전면허|ehliyet|licen[cs]e plate|number plate|plate(?: number)?|kennzeichen|nummernschild"
    "|immatriculation|matr[ií]cula|targa|kenteken|номер машины|госномер|车牌|vehicle identification",
    # Other countries' numbers of people
    "steuer id(?:entifikationsnummer)?|steuer ?nummer|steuer ?identifikationsnummer|idnr|personalausweis|ausweis"
    "|sozialversicherung|rentenversicherung|svnr|versichertennummer|krankenversicherten|num[eé]ro de s[eé]curit[eé] sociale"
    "|s[eé]curit[eé] sociale|num[eé]ro fiscal|insee|documento(?: nacional)?(?: de identidad)?|c[eé]dula|seguridad social|curp"
    "|cpf|cnpj|codice fiscale|partita iva|carta d'identit[aà]|burgerservicenummer|bsn|sofinummer|rijksregister(?:nummer)?"
    "|personnummer|f[oø]dselsnummer|cpr|hetu|henkil[oö]tunnus|kennitala|pesel|regon|dow[oó]d osobisty|numer dowodu"
    "|rodn[eé] [cč][ií]slo|ob[cč]ansk[yý] pr[uů]kaz|szem[eé]lyi|jmbg|oib|egn|cnp|cod numeric personal|amka|αφμ|αμκα"
    "|снилс|инн|удостоверение|паспорт|ірпн|рнокпп|ідентифікаційний код",
    "aadhaa?r|uidai|voter ?id|pan card|आधार|身份[证證](?:号码?|號碼?)?|社保号|统一社会信用代码|マイナンバー|個人番号|基礎年金番号|在留カード"
    "|주민등록번호|주민번호|외국인등록번호|tc ?kimlik(?: no)?|tckn|kimlik(?: no)?|vergi no|الهوية|رقم الهوية|السجل المدني|کد ملی"
    "|nric|mykad|nik ktp|ktp|cccd|cmnd|căn cước|can cuoc|philsys|sss number|תעודת זהות|ת\\.ז",
    "ahv(?: ?nr| ?nummer)?|ahvn13|avs(?: ?n[ro])?|oasi|num[eé]ro (?:national|avs)|nationaal nummer|registre national|matricule nationale?"
    "|isikukood|personas kods|asmens kodas|samordningsnummer|d nummer|taj ?sz[aá]m|ad[oó]azonos[ií]t[oó](?: jel)?|emso|егн|єдрпоу|іпн|иин|омс"
    "|hkid|hong kong id|emirates id|iqama|civil id|qid|nic(?: no)|bvn|kra pin|huduma|ghana card|(?:sa|rsa|south african) id|id number|id no"
    "|t[ií]tulo de eleitor|cart[aã]o sus|pasep|renavam|nss|clave de elector|ine|niss|nuss|cart[aã]o de cidad[aã]o|carte vitale|num[eé]ro insee"
    "|tessera sanitaria|krankenversicherung|kvnr|rvnr|renteninformation|steuerliche id|medicaid|a number|ohip|ramq|health card|centrelink|crn|ihi|nhi"
    "|เลขบัตรประชาชน|เลขประจำตัวประชาชน|บัตรประชาชน|teudat zehut|מספר זהות|الرقم القومي|رقم الإقامة|身分證字號|身分證|社会保障号|居留证|住民票コード|philhealth|umid|gsis"
    "|vat (?:id|number|no|reg(?:istration)?)|ust ?id(?: ?nr)?|umsatzsteuer ?id|num[eé]ro (?:de )?tva|btw ?(?:nummer|nr)|gstin|siren|siret|clabe|cbu|ifsc|bsb",
    # Devices
    "imei(?:sv)?|imsi|iccid|meid|idfa|idfv|gaid|aaid|udid|android id|advertising id|device id|device identifier"
    "|hardware id|machine id|serial ?number|installation id|ger[aä]te id|ger[aä]tekennung",
    # Health and money
    "mrn|medical record|patient ?(?:id|number|no|nr)|health (?:card|insurance)(?: number)?|insurance (?:id|number|no)"
    "|policy (?:number|no)|member (?:number|no)|beneficiary id|npi|dea number|account (?:number|no|nr)|acct (?:number|no|nr)?"
    "|bank account|konto ?(?:nummer|nr)|kontonummer|num[eé]ro de compte|n[uú]mero de cuenta|n[uú]mero da conta|rekeningnummer"
    "|numer konta|номер сч[её]та|银行卡号?|银行账号|账号|卡号|口座番号|계좌번호|카드번호|カード番号|card (?:number|no|nr)|cardnumber"
    "|sort code|routing (?:number|no)|kartennummer|num[eé]ro de carte|n[uú]mero de tarjeta|номер карты",
)

NUMBER_OF_IN_CAPITALS = any_of(
    "SIN|EIN|TIN|NIN|NIE|NIF|CIF|DNI|RUT|RUN|RG|PIS|NIR|NIP|PAN|EPIC|ABN|ACN|FIN|NIK|INN|VIN|EGN|CNP|AFM|UCN|UEN|PPS|DL"
    "|MAC|CNIC|NID|LEI|ITIN|PESEL|DOB|CURP|CUIL|CUIT"
)
"""Short names that are words or syllables in small letters."""

FIELDS = (
    *(
        "sin",
        "ein",
        "tin",
        "nin",
        "nie",
        "nif",
        "dni",
        "rut",
        "nir",
        "nip",
        "pan",
        "vin",
        "nik",
        "inn",
        "cuil",
        "cuit",
    ),
    *("cnic", "fin", "id_number", "idnumber", "id_no"),
)
NUMBER_OF_IN_FIELDS = any_of(*FIELDS)
"""The same as names of fields."""

BORN = any_of(
    "dob|date of birth|birth ?dates?|birth ?days?|born(?: on)?|d\\.o\\.b\\.?|geburts ?datum|geburtstag|geboren(?: am)?|geb\\."
    "|date (?:de )?naissance|né le|née le|fecha (?:de )?nac(?:imiento)?|nacid[oa] el|data (?:de )?nasc(?:imento)?|nascimento|data (?:di )?nascita|nato il|nata il"
    "|geboorte ?datum|geboren op|data urodzenia|urodzon[ya]|datum narozen[ií]|narozen[aá]?|f[oø]dselsdato|f[oö]delsedatum"
    "|født|fodt|syntym[aä]aika|születési (?:dátum|idő)|data na[sș]terii|дата рождения|родил(?:ся|ась)|дата на раждане"
    "|出生日期|出生年月日?|生日|生年月日|誕生日|생년월일|생일|تاريخ الميلاد|تاریخ تولد|(?:doğum|dogum) (?:tarihi|günü|gunu)|जन्म ?तिथि|जन्मतिथि"
    "|ng[aà]y sinh|tanggal lahir|תאריך לידה|ημερομηνία γέννησης"
)

NAME_OF = any_of(
    "first name|last name|middle name|given name|family name|full name|maiden name|sur name|surname|forename|legal name"
    "|customer name|patient name|card ?holder(?: name)?|name on card|account holder|beneficiary name|employee name"
    "|nom (?:de )?famille|nom (?:du )?client|nom (?:de )?naissance|nombre (?:del )?cliente|nombre y apellidos|kunden ?name|patienten ?name|nome (?:do )?cliente|имя клиента|客户姓名|顧客名"
    "|vorname|nachname|familienname|geburtsname|karteninhaber|pr[eé]nom|nom de famille|nom complet|nombre completo|apellidos?"
    "|nome completo|sobrenome|apelido|cognome|voornaam|achternaam|imi[eę] i nazwisko|nazwisko|имя пользователя полное|фамилия"
    "|отчество|фио|姓名|氏名|お名前|이름|성명|الاسم الكامل|ad soyad|soyad[ıi]?|mother'?s maiden name"
)

STREET = any_of(
    "street(?: address)?|street ?address|street ?name|home address|billing address|shipping address|postal address"
    "|mailing address|delivery address|residential address|address ?line ?\\d?|addr ?line ?\\d?|addr ?1|address1|anschrift"
    "|wohnadresse|lieferadresse|stra[sß]{1,2}e|adresse postale|adresse de livraison|domicile|direcci[oó]n postal|domicilio"
    "|endere[cç]o|logradouro|indirizzo(?: di casa)?|residenza|woonadres|adres zamieszkania|домашний адрес|адрес проживания"
    "|住所|家庭住址|收货地址|详细地址|주소|ev adresi"
)

CARD = (
    r"(?:cards?|pan|kreditkarte|carte|tarjeta|cart[a\u00e3]o|carta|kaart|karta|\u043a\u0430\u0440\u0442\u0430|\u5361"
    r"|\u30ab\u30fc\u30c9|kart|visa|mastercard|maestro|amex|unionpay|cc[_ -]?(?:number|num|no))"
)
