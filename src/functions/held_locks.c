/* SPDX-License-Identifier: PostgreSQL */
/*
 * held_locks.c
 *		Describes the locks and snapshots that a session or a prepared transaction holds.
 *
 * An example: "AccessExclusiveLock on public.orders, ExclusiveLock on advisory lock 42; xmin
 * 1234 transactions old". Other sessions may have to wait for these locks, and VACUUM cannot
 * remove rows that died after the xmin. The description omits locks on transaction ids, because
 * every transaction locks its own ids, and predicate locks, because no session waits for them.
 *
 * The lock table is copied once for all rows of a result. Relation names are looked up without a
 * lock. A relation that was dropped meanwhile, is not committed yet or belongs to another database
 * is shown by its OID.
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/compat.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "functions/held_locks.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#define MAX_LOCKS_SHOWN 10

/* locktag_field4 of an advisory lock whose key is a bigint; other advisory locks have two int4. */
#define ADVISORY_KEY_IS_BIGINT 1

typedef struct HeldLock
{
	LOCKMODE	mode;
	LOCKTAG		lock;
} HeldLock;

typedef struct HeldLocks
{
	HeldLock   *held;
	int			count;
	int			capacity;
} HeldLocks;

static const LockData *
get_lock_table(LockData **table)
{
	if (*table == NULL)
		*table = GetLockStatusData();
	return *table;
}

static void
add_held_modes(HeldLocks *locks, const LockInstanceData *instance)
{
	if (instance->locktag.locktag_type == LOCKTAG_VIRTUALTRANSACTION ||
		instance->locktag.locktag_type == LOCKTAG_TRANSACTION)
		return;
	for (LOCKMODE mode = MaxLockMode; mode > NoLock; mode--)
	{
		if ((instance->holdMask & LOCKBIT_ON(mode)) == 0)
			continue;
		if (locks->count == locks->capacity)
		{
			locks->capacity = Max(16, 2 * locks->capacity);
			locks->held = locks->held ?
				repalloc_huge(locks->held, locks->capacity * sizeof(HeldLock)) :
				palloc(locks->capacity * sizeof(HeldLock));
		}
		locks->held[locks->count].mode = mode;
		locks->held[locks->count++].lock = instance->locktag;
	}
}

static bool
is_system_relation(const LOCKTAG *lock)
{
	return lock->locktag_type == LOCKTAG_RELATION && lock->locktag_field2 < FirstNormalObjectId;
}

/*
 * Sort the strongest mode first. Among locks of one mode, sort system catalogs last, because every
 * statement locks some.
 */
static int
compare_held(const void *a, const void *b)
{
	const HeldLock *x = a;
	const HeldLock *y = b;

	if (x->mode != y->mode)
		return y->mode - x->mode;
	if (is_system_relation(&x->lock) != is_system_relation(&y->lock))
		return is_system_relation(&x->lock) ? 1 : -1;
	if (x->lock.locktag_type != y->lock.locktag_type)
		return x->lock.locktag_type - y->lock.locktag_type;
	if (x->lock.locktag_field2 != y->lock.locktag_field2)
		return x->lock.locktag_field2 < y->lock.locktag_field2 ? -1 : 1;
	return (x->lock.locktag_field3 > y->lock.locktag_field3) -
		(x->lock.locktag_field3 < y->lock.locktag_field3);
}

static bool
is_other_database(Oid database)
{
	return OidIsValid(database) && database != MyDatabaseId;
}

/* Return the relation's qualified name, quoted if necessary; NULL if it does not exist. */
static char *
relation_name(Oid relation)
{
	char	   *name = get_rel_name(relation);
	char	   *schema = name ? get_namespace_name(get_rel_namespace(relation)) : NULL;

	return schema ? quote_qualified_identifier(schema, name) : NULL;
}

static void
append_relation(StringInfo out, const LOCKTAG *lock)
{
	char	   *name = is_other_database(lock->locktag_field1) ? NULL :
		relation_name(lock->locktag_field2);

	if (name)
		appendStringInfoString(out, name);
	else
		appendStringInfo(out, "relation %u", lock->locktag_field2);
}

static void
append_advisory(StringInfo out, const LOCKTAG *lock)
{
	if (lock->locktag_field4 == ADVISORY_KEY_IS_BIGINT)
		appendStringInfo(out, "advisory lock " INT64_FORMAT,
						 (int64) ((uint64) lock->locktag_field2 << 32 | lock->locktag_field3));
	else
		appendStringInfo(out, "advisory lock (%d, %d)", (int32) lock->locktag_field2,
						 (int32) lock->locktag_field3);
}

/* Append an object that is not a relation: its OID and the name of its catalog. */
static void
append_object(StringInfo out, const LOCKTAG *lock)
{
	char	   *catalog = get_rel_name(lock->locktag_field2);

	appendStringInfo(out, "object %u of %s", lock->locktag_field3,
					 catalog ? catalog : psprintf("catalog %u", lock->locktag_field2));
}

static void
append_lock(StringInfo out, const HeldLock *held)
{
	const LOCKTAG *lock = &held->lock;
	char	   *database;

	appendStringInfo(out, "%s on ", GetLockmodeName(lock->locktag_lockmethodid, held->mode));
	switch ((LockTagType) lock->locktag_type)
	{
		case LOCKTAG_RELATION:
			append_relation(out, lock);
			break;
		case LOCKTAG_ADVISORY:
			append_advisory(out, lock);
			break;
		case LOCKTAG_OBJECT:
			append_object(out, lock);
			break;
		default:
			appendStringInfo(out, "%s", lock->locktag_type <= LOCKTAG_LAST_TYPE ?
							 LockTagTypeNames[lock->locktag_type] : "another object");
			return;
	}
	if (!is_other_database(lock->locktag_field1))
		return;
	database = get_database_name(lock->locktag_field1);
	appendStringInfo(out, " of database %s", database ? quote_identifier(database) :
					 psprintf("%u", lock->locktag_field1));
}

static void
append_locks(StringInfo out, HeldLocks *locks)
{
	qsort(locks->held, locks->count, sizeof(HeldLock), compare_held);
	for (int i = 0; i < Min(locks->count, MAX_LOCKS_SHOWN); i++)
	{
		appendStringInfoString(out, i > 0 ? ", " : "");
		append_lock(out, &locks->held[i]);
	}
	if (locks->count > MAX_LOCKS_SHOWN)
		appendStringInfo(out, " and %d more", locks->count - MAX_LOCKS_SHOWN);
}

/*
 * Append the age of xid in transactions, as SQL's age() computes it, unless xid is invalid. The
 * age of a transaction that began after the reader's own transaction is 0.
 */
static void
append_age(StringInfo out, const char *separator, const char *name, TransactionId xid)
{
	int			age;

	if (!TransactionIdIsNormal(xid))
		return;
	age = Max(DatumGetInt32(DirectFunctionCall1(xid_age, TransactionIdGetDatum(xid))), 0);
	appendStringInfo(out, "%s%s %d transaction%s old", out->len > 0 ? separator : "", name, age,
					 age == 1 ? "" : "s");
}

static const char *
describe(HeldLocks *locks, TransactionId xmin, TransactionId xid)
{
	StringInfoData out;

	initStringInfo(&out);
	append_locks(&out, locks);
	append_age(&out, "; ", "xmin", xmin);
	append_age(&out, TransactionIdIsNormal(xmin) ? ", " : "; ", "xid", xid);
	return out.len > 0 ? out.data : NULL;
}

const char *
cpm_session_held_locks(LockData **table, const CpmSession *session)
{
	const LockData *all = get_lock_table(table);
	const volatile PGPROC *proc = &ProcGlobal->allProcs[session->proc_number];
	HeldLocks	locks = {0};
	TransactionId xmin = proc->xmin;
	TransactionId xid = proc->xid;

	for (int i = 0; i < all->nelements; i++)
		if (all->locks[i].pid == session->pid)
			add_held_modes(&locks, &all->locks[i]);
	/* if another session has taken over the PGPROC meanwhile, xmin and xid may belong to it */
	if (proc->pid != session->pid)
		xmin = xid = InvalidTransactionId;
	return describe(&locks, xmin, xid);
}

/*
 * Return the lock that a prepared transaction holds on its own id; NULL during recovery, in which
 * prepared transactions do not hold it.
 */
static const LockInstanceData *
own_lock_of_prepared(const LockData *all, TransactionId xid)
{
	for (int i = 0; i < all->nelements; i++)
	{
		const LockInstanceData *instance = &all->locks[i];

		if (instance->pid == 0 && instance->locktag.locktag_type == LOCKTAG_TRANSACTION &&
			instance->locktag.locktag_field1 == xid)
			return instance;
	}
	return NULL;
}

/*
 * In the lock table all prepared transactions have pid 0. So find the lock that this one holds on
 * its own transaction id; its other locks have the same virtual transaction id.
 */
const char *
cpm_prepared_xact_held_locks(LockData **table, const CpmPrepared *prepared)
{
	const LockData *all = get_lock_table(table);
	const LockInstanceData *own = own_lock_of_prepared(all, prepared->xid);
	HeldLocks	locks = {0};

	for (int i = 0; own != NULL && i < all->nelements; i++)
		if (all->locks[i].pid == 0 && cpm_is_same_virtual_transaction(&all->locks[i], own))
			add_held_modes(&locks, &all->locks[i]);
	return describe(&locks, InvalidTransactionId, prepared->xid);
}
