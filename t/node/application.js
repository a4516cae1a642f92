// SPDX-License-Identifier: PostgreSQL
// A simulated application on node-postgres. Reads a job as JSON from standard input
// and prints the result as one line of JSON.
//
//   { connection: {…}, steps: [text or {name, text, values} or {wait: ms}], intrude: bool }
//     Run the steps on one client, one after the other. With intrude, after each step
//     that leaves the client outside a transaction, another client claims the server
//     connection that the pooler has just got back, and keeps it. The next step then
//     runs on another server connection, without the session state of earlier steps.
//
//   { connection: {…}, pool: {…}, clients: n, for: ms, pause: ms, forget: n }
//     For the given time, run n clients that each take a connection from a pg.Pool, use
//     it and release it. Before that, begin "forget" transactions, each on a connection
//     that stays claimed.
//
//   { connection: {…}, slow: ms, for: ms }
//     Connect through a proxy that delays the first packet, and stay connected.
//
//   { jobs: [job, …], at_once: bool }
//     Run several jobs, one after the other or at once. The result is an array of their results.
//
// Without "for", a job runs until SIGTERM.
'use strict';
const net = require('node:net');
const pg = require('pg');

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const outcome = (error) => ({ error: error.message });

async function runStep(client, step) {
	if (step.wait) return pause(step.wait);
	try {
		const result = await client.query(step);
		return [].concat(result).map((r) => r.rows);
	} catch (error) {
		return outcome(error);
	}
}

async function runSteps({ connection, steps, intrude }) {
	const client = new pg.Client(connection);
	const others = [];
	const results = [];
	let notifications = 0;
	let inTransaction = false;

	client.on('notification', () => notifications++);
	client.on('error', () => {});
	await client.connect();
	for (const step of steps) {
		results.push(await runStep(client, step));
		if (step === 'BEGIN') inTransaction = true;
		if (step === 'COMMIT' || step === 'ROLLBACK') inTransaction = false;
		if (!intrude || inTransaction) continue;
		const other = new pg.Client({ ...connection, application_name: 'intruder' });
		other.on('error', () => {});
		await other.connect();
		await other.query('BEGIN').catch(() => {});
		others.push(other);
	}
	await client.end();
	for (const other of others) await other.end();
	return { results, notifications };
}

async function work(pool, until, rest) {
	let transactions = 0;
	while (Date.now() < until) {
		const client = await pool.connect();
		await client.query('SELECT 1');
		client.release();
		transactions++;
		await pause(rest);
	}
	return transactions;
}

async function runPool(job) {
	const pool = new pg.Pool({ ...job.connection, ...job.pool });
	const until = job.for ? Date.now() + job.for : Infinity;
	pool.on('error', () => {});
	for (let i = 0; i < (job.forget || 0); i++) await (await pool.connect()).query('BEGIN');
	const done = await Promise.all(Array.from({ length: job.clients }, () => work(pool, until, job.pause ?? 10)));
	// the end of the process closes the connections that were not released
	return { transactions: done.reduce((a, b) => a + b, 0) };
}

async function runSlow({ connection, slow, for: ms }) {
	const network = net.createServer((client) => {
		const server = net.connect(`${connection.host}/.s.PGSQL.${connection.port}`);
		client.pause();
		setTimeout(() => client.pipe(server).pipe(client), slow);
		for (const socket of [client, server]) socket.on('error', () => {});
	});
	await new Promise((resolve) => network.listen(0, '127.0.0.1', resolve));
	const client = new pg.Client({ ...connection, host: '127.0.0.1', port: network.address().port });
	await client.connect();
	await (ms ? pause(ms) : new Promise(() => {}));
	await client.end();
	return {};
}

async function runJobs({ jobs, at_once }) {
	if (at_once) return Promise.all(jobs.map(run));
	const results = [];
	for (const job of jobs) results.push(await run(job));
	return results;
}

function run(job) {
	if (job.jobs) return runJobs(job);
	return job.steps ? runSteps(job) : job.slow ? runSlow(job) : runPool(job);
}

const finish = (result) => process.stdout.write(JSON.stringify(result) + '\n', () => process.exit(0));

async function main() {
	let text = '';
	for await (const part of process.stdin) text += part;
	finish(await run(JSON.parse(text)));
}

process.on('SIGTERM', () => finish({}));
main().catch((error) => {
	process.stderr.write(`${error.stack}\n`);
	process.exit(1);
});
