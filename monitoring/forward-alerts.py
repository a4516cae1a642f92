#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
# Forwards alerts of connpool_monitor to a webhook (Slack, Mattermost) or by mail, as doc/alerts.md
# shows. Notifications only wake it: it reads the changes from connpool_alert_log, which no client
# can imitate, and sends again what could not be sent.
import email.message, html, json, os, re, select, smtplib, sys, time, urllib.request
import psycopg2

# Clients choose the names in a culprit. Replace line breaks and other invisible characters.
def visible(text):
    return ''.join(c if c.isprintable() else '?' for c in text)

# Disable mentions and links with a text: escape <, > and & for Slack, and insert a zero-width
# space for Mattermost. Plain addresses remain links.
def without_markup(text):
    return re.sub(r'(?<!\w)@|\](?=\()', '\\g<0>\u200b', html.escape(text, quote=False))

def send(text):
    if url := os.environ.get('WEBHOOK_URL'):
        body = json.dumps({'text': without_markup(text)}).encode()
        request = urllib.request.Request(url, body, {'Content-Type': 'application/json'})
        urllib.request.urlopen(request, timeout=10).close()
    if to := os.environ.get('MAIL_TO'):
        mail = email.message.EmailMessage()
        mail['To'], mail['From'] = to, os.environ.get('MAIL_FROM', to)
        mail['Subject'] = text.splitlines()[0]
        mail.set_content(text)
        with smtplib.SMTP(os.environ.get('SMTP_HOST', 'localhost'), timeout=10) as server:
            server.send_message(mail)

last = None
while True:
    try:
        connection = psycopg2.connect(os.environ.get('ALERTS_FROM', 'dbname=postgres'))
        connection.autocommit = True
        connection.set_client_encoding('UTF8')      # not SQL_ASCII, for Python
        cursor = connection.cursor()
        cursor.execute('LISTEN connpool_alerts')
        cursor.execute('SELECT coalesce(max(seq), 0) FROM connpool_alert_log')
        newest = cursor.fetchone()[0]
        last = newest if last is None else min(last, newest)    # a crash can reuse numbers
        while True:
            cursor.execute('SELECT seq, to_status, message, culprit FROM connpool_alert_log'
                           ' WHERE seq > %s ORDER BY seq', (last,))
            for seq, status, message, culprit in cursor.fetchall():
                send(f'{status}: {visible(message)}\n{visible(culprit or "")}')
                last = seq
            select.select([connection], [], [], 60)
            connection.poll()
            connection.notifies.clear()
    except Exception as error:      # retry after any error, to lose no alert
        print(error, file=sys.stderr, flush=True)
        time.sleep(5)
