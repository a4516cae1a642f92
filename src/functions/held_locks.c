/* SPDX-License-Identifier: PostgreSQL */
/*
 * held_locks.c
 *		What a session or a prepared transaction holds back, in words.
 *
 * "AccessExclusiveLock on public.orders, ExclusiveLock on advisory lock 42; xmin 1234
 * transactions old": what others may have to wait for, and how far back VACUUM must keep dead
 * rows. Left out are a transaction's locks on its own ids, because everyone has them, and
 * predicate locks, because nobody waits for them.
 *
 * The lock table is copied once for all rows. No relation is locked to look up its name: one
 * that has been dropped meanwhile, is not committed yet or belongs to another database is
 * shown by its OID.
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

#define MOST_LOCKS_NAMED 10

/* As pg_advisory_lock() sets it in locktag_field4: one key of 64 bits, otherwise two of 32. */
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
lock_table(LockData **table)
{
	if (*table == NULL)
		*table = GetLockStatusData();
	return *table;
}

static void
add_lock(HeldLocks *locks, const LockInstanceData *instance)
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
is_of_system(const LOCKTAG *lock)
{
	return lock->locktag_type == LOCKTAG_RELATION && lock->locktag_field2 < FirstNormalObjectId;
}

/* The strongest first; the catalogs, which every statement reads, after other relations. */
static int
compare_held(const void *a, const void *b)
{
	const HeldLock *x = a;
	const HeldLock *y = b;

	if (x->mode != y->mode)
		return y->mode - x->mode;
	if (is_of_system(&x->lock) != is_of_system(&y->lock))
		return is_of_system(&x->lock) ? 1 : -1;
	if (x->lock.locktag_type != y->lock.locktag_type)
		return x->lock.locktag_type - y->lock.locktag_type;
	if (x->lock.locktag_field2 != y->lock.locktag_field2)
		return x->lock.locktag_field2 < y->lock.locktag_field2 ? -1 : 1;
	return (x->lock.locktag_field3 > y->lock.locktag_field3) -
		(x->lock.locktag_field3 < y->lock.locktag_field3);
}

static bool
is_of_another_database(Oid database)
{
	return OidIsValid(database) && database != MyDatabaseId;
}

/* The relation's name with its schema, quoted where needed; NULL if there is none such. */
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
	char	   *name = is_of_another_database(lock->locktag_field1) ? NULL :
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

/* An object that is no relation, by its OID and the catalog that it stands in. */
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
	if (!is_of_another_database(lock->locktag_field1))
		return;
	database = get_database_name(lock->locktag_field1);
	appendStringInfo(out, " of database %s", database ? quote_identifier(database) :
					 psprintf("%u", lock->locktag_field1));
}

static void
append_locks(StringInfo out, HeldLocks *locks)
{
	qsort(locks->held, locks->count, sizeof(HeldLock), compare_held);
	for (int i = 0; i < Min(locks->count, MOST_LOCKS_NAMED); i++)
	{
		appendStringInfoString(out, i > 0 ? ", " : "");
		append_lock(out, &locks->held[i]);
	}
	if (locks->count > MOST_LOCKS_NAMED)
		appendStringInfo(out, " and %d more", locks->count - MOST_LOCKS_NAMED);
}

/* As age() counts it, so that it is what age(backend_xmin) of pg_stat_activity says. */
static void
append_age(StringInfo out, const char *separator, const char *what, TransactionId xid)
{
	int			age;

	if (!TransactionIdIsNormal(xid))
		return;
	age = DatumGetInt32(DirectFunctionCall1(xid_age, TransactionIdGetDatum(xid)));
	appendStringInfo(out, "%s%s %d transaction%s old", out->len > 0 ? separator : "", what, age,
					 age == 1 ? "" : "s");
}

static const char *
in_words(HeldLocks *locks, TransactionId xmin, TransactionId xid)
{
	StringInfoData out;

	initStringInfo(&out);
	append_locks(&out, locks);
	append_age(&out, "; ", "xmin", xmin);
	append_age(&out, TransactionIdIsNormal(xmin) ? ", " : "; ", "xid", xid);
	return out.len > 0 ? out.data : NULL;
}

const char *
cpm_session_holds(LockData **table, const CpmSession *session)
{
	const LockData *all = lock_table(table);
	const volatile PGPROC *proc = &ProcGlobal->allProcs[session->proc_number];
	HeldLocks	locks = {0};
	TransactionId xmin = proc->xmin;
	TransactionId xid = proc->xid;

	for (int i = 0; i < all->nelements; i++)
		if (all->locks[i].pid == session->pid)
			add_lock(&locks, &all->locks[i]);
	/* another process may have taken over the PGPROC meanwhile */
	if (proc->pid != session->pid)
		xmin = xid = InvalidTransactionId;
	return in_words(&locks, xmin, xid);
}

/* The lock of a prepared transaction on its own id; NULL if it has none, as in recovery. */
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

/* PostgreSQL calls every prepared transaction process 0: their virtual ids tell them apart. */
const char *
cpm_prepared_xacts_holds(LockData **table, const CpmPrepared *prepared)
{
	const LockData *all = lock_table(table);
	const LockInstanceData *own = own_lock_of_prepared(all, prepared->xid);
	HeldLocks	locks = {0};

	for (int i = 0; own != NULL && i < all->nelements; i++)
		if (all->locks[i].pid == 0 && cpm_is_same_virtual_transaction(&all->locks[i], own))
			add_lock(&locks, &all->locks[i]);
	return in_words(&locks, InvalidTransactionId, prepared->xid);
}
