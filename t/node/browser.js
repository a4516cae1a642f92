// SPDX-License-Identifier: PostgreSQL
// A headless Chromium for tests. Each line of standard input is a command of the
// DevTools protocol, {method, params}, for the only page. This program answers each
// with a line {result} or {error}. It has three commands of its own:
//
//   events                            return the events since the last such command
//   credentials {username, password}  answer the server's challenges with these; without
//                                     them, cancel the challenges
//   picture {file}                    write a screenshot as PNG
//
// The browser receives commands through file descriptors 3 and 4, which needs no
// package for WebSockets. It ends with this program, and writes only to
// $BROWSER_DIRECTORY.
'use strict';
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const readline = require('node:readline');
const zlib = require('node:zlib');

const directory = process.env.BROWSER_DIRECTORY;
const browser = spawn(process.env.CHROMIUM || 'chromium', [
	'--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--hide-scrollbars', '--remote-debugging-pipe',
	'--user-data-dir=' + directory, '--no-first-run', '--disable-extensions', '--disable-background-networking', '--disable-component-update',
	'--disable-sync', '--disable-breakpad', '--no-proxy-server', '--lang=en-GB', 'about:blank'],
{ env: { ...process.env, HOME: directory, TMPDIR: directory, XDG_CONFIG_HOME: directory, XDG_CACHE_HOME: directory },
	stdio: ['ignore', 'ignore', fs.openSync(directory + '/messages', 'w'), 'pipe', 'pipe'] });
const end = (status) => {
	browser.kill('SIGKILL');
	process.exit(status);
};
browser.on('error', (error) => {
	process.stderr.write(`no browser: ${error.message}\n`);
	process.exit(1);
});
browser.on('exit', (code, signal) => {
	process.stderr.write(`the browser ended (${code ?? signal})\n${fs.readFileSync(directory + '/messages', 'utf8').slice(-3000)}`);
	process.exit(1);
});
browser.stdio[3].on('error', () => {});
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => end(0));

// Commands and their answers
let last = 0, session, credentials = null;
const open = new Map();
function send(method, params = {}, sessionId = session) {
	return new Promise((resolve, reject) => {
		open.set(++last, { resolve, reject });
		browser.stdio[3].write(JSON.stringify({ id: last, method, params, sessionId }) + '\0');
	});
}

// Events, reduced to the properties that tests use
let seen = [];
const words = (argument) => argument.value ?? argument.description ?? argument.type;
const events = {
	'Runtime.consoleAPICalled': ({ type, args }) => seen.push({ kind: 'console', level: type, text: args.map(words).join(' ') }),
	'Runtime.exceptionThrown': ({ exceptionDetails: d }) => seen.push({ kind: 'exception', text: d.text + ' ' + (d.exception?.description ?? '') }),
	'Log.entryAdded': ({ entry }) => seen.push({ kind: 'log', source: entry.source, level: entry.level, text: entry.text + ' ' + (entry.url ?? '') }),
	'Network.requestWillBeSent': ({ request }) => seen.push({ kind: 'request', text: request.url }),
	'Network.webSocketCreated': ({ url }) => seen.push({ kind: 'request', text: url }),
	'Page.javascriptDialogOpening': ({ message }) => {
		seen.push({ kind: 'dialog', text: message });
		// an open dialog would block all other commands
		send('Page.handleJavaScriptDialog', { accept: true }).catch(() => {});
	},
	'Fetch.requestPaused': ({ requestId }) => send('Fetch.continueRequest', { requestId }).catch(() => {}),
	'Fetch.authRequired': ({ requestId, authChallenge }) => {
		seen.push({ kind: 'challenge', text: `${authChallenge.scheme} ${authChallenge.realm}` });
		const authChallengeResponse = credentials ? { response: 'ProvideCredentials', ...credentials } : { response: 'CancelAuth' };
		send('Fetch.continueWithAuth', { requestId, authChallengeResponse }).catch(() => {});
	},
};

// Return the PNG with a palette, which halves its size. Frequent colors stay unchanged. Rare
// colors, from the edges of letters, become one color if they are similar.
function smaller(png) {
	const parts = [];
	for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at))
		if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
	const width = png.readUInt32BE(16), height = png.readUInt32BE(20), size = png[25] === 6 ? 4 : 3, row = width * size;
	const rows = zlib.inflateSync(Buffer.concat(parts)), pixels = Buffer.alloc(row * height);
	for (let y = 0, from = 0, to = 0; y < height; y++) {
		const filter = rows[from++];
		for (let x = 0; x < row; x++, to++) {
			const left = x < size ? 0 : pixels[to - size], up = y ? pixels[to - row] : 0, corner = x < size || !y ? 0 : pixels[to - row - size];
			const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
			const guess = [0, left, up, (left + up) >> 1, a <= b && a <= c ? left : b <= c ? up : corner][filter];
			pixels[to] = rows[from++] + guess;
		}
	}
	const counts = new Map(), number = (i) => pixels.readUIntBE(i * size, 3);
	for (let i = 0; i < width * height; i++) counts.set(number(i), (counts.get(number(i)) || 0) + 1);
	const frequent = new Set([...counts].sort((a, b) => b[1] - a[1]).slice(0, 64).map(([colour]) => colour));
	for (let bits = 0; ; bits++) {
		const colours = new Map(), palette = [], lines = Buffer.alloc((width + 1) * height);
		for (let i = 0; i < width * height; i++) {
			const colour = [pixels[i * size], pixels[i * size + 1], pixels[i * size + 2]], key = frequent.has(number(i)) ? number(i) : colour.map((part) => part >> bits).join();
			if (!colours.has(key)) palette.push(...colour), colours.set(key, colours.size);
			lines[Math.floor(i / width) * (width + 1) + i % width + 1] = colours.get(key);
			if (colours.size > 256) break;
		}
		if (colours.size > 256) continue;
		const header = Buffer.from(png.subarray(16, 29));
		header[9] = 3;
		return Buffer.concat([png.subarray(0, 8), chunk('IHDR', header), chunk('PLTE', Buffer.from(palette)), chunk('IDAT', zlib.deflateSync(lines, { level: 9 })), chunk('IEND', Buffer.alloc(0))]);
	}
}

function chunk(type, data) {
	const all = Buffer.alloc(12 + data.length);
	let sum = ~0;
	all.writeUInt32BE(data.length, 0);
	all.write(type, 4, 'latin1');
	data.copy(all, 8);
	// zlib.crc32 is not in Node 18
	for (const byte of all.subarray(4, -4)) {
		sum ^= byte;
		for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >>> 1 ^ 0xedb88320 : sum >>> 1;
	}
	all.writeUInt32BE(~sum >>> 0, all.length - 4);
	return all;
}

const own = {
	events: async () => {
		const those = seen;
		seen = [];
		return those;
	},
	credentials: async ({ username, password }) => {
		credentials = username === undefined ? null : { username, password };
		return send('Fetch.enable', { handleAuthRequests: true });
	},
	picture: async ({ file }) => {
		const { data } = await send('Page.captureScreenshot', { format: 'png' });
		fs.writeFileSync(file, smaller(Buffer.from(data, 'base64')));
		return {};
	},
};

let text = '';
browser.stdio[4].setEncoding('utf8').on('data', (part) => {
	const messages = (text + part).split('\0');
	text = messages.pop();
	for (const message of messages.map((m) => JSON.parse(m))) {
		if (message.id) {
			const { resolve, reject } = open.get(message.id);
			open.delete(message.id);
			if (message.error) reject(new Error(message.error.message));
			else resolve(message.result);
		} else if (message.sessionId === session) events[message.method]?.(message.params);
	}
});

async function main() {
	const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
	({ sessionId: session } = await send('Target.attachToTarget', { targetId, flatten: true }));
	for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`);
	for await (const line of readline.createInterface({ input: process.stdin })) {
		const { method, params = {} } = JSON.parse(line);
		const answer = await (own[method] ? own[method](params) : send(method, params)).then((result) => ({ result }), (error) => ({ error: error.message }));
		process.stdout.write(JSON.stringify(answer) + '\n');
	}
	end(0);
}

main().catch((error) => {
	process.stderr.write(`${error.stack}\n`);
	end(1);
});
