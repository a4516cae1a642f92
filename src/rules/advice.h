/* SPDX-License-Identifier: PostgreSQL */
/*
 * advice.h
 *		How large a pool should be, and whether it can be pooled by transaction.
 */
#ifndef CPM_ADVICE_H
#define CPM_ADVICE_H

#include "base/busy.h"
#include "base/pool.h"
#include "base/pooler.h"

/* Fewer than these say too little: percentiles of 99 % need some hundred samples. */
#define CPM_ADVICE_SAMPLES 300
#define CPM_ADVICE_TRANSACTIONS 100

#define CPM_MOST_REASONS 12
#define CPM_REASON_SIZE 240

/* What a pool and its server have shown. */
typedef struct CpmPoolEvidence
{
	const CpmPool *pool;
	bool		is_mixed;		/* "(other)": several applications in one */
	CpmBusy		busy;			/* all zero for nothing observed */
	int			processors;
	int			usable_slots;
	int			wanted_by_all;	/* recommended for all pools together; 0 not known yet */
	int			pooled;			/* of its connections, those that come through a pooler */
	const char *pooler;			/* the name of that, which has most of them; NULL for none */
	const CpmPoolerAnswer *answer;	/* what that says of itself; NULL for nothing */
} CpmPoolEvidence;

typedef enum CpmPoolMode
{
	CPM_MODE_UNKNOWN,
	CPM_MODE_TRANSACTION,
	CPM_MODE_SESSION
} CpmPoolMode;

typedef struct CpmPoolAdvice
{
	uint32		p50;			/* busy connections; meaningless without samples */
	uint32		p95;
	uint32		p99;
	int			size;			/* 0 while too little was observed */
	CpmPoolMode mode;
	unsigned int features;		/* bits by CpmFeature */
	int			reasons;
	char		reason[CPM_MOST_REASONS][CPM_REASON_SIZE];
} CpmPoolAdvice;

/* Pure. */
extern void cpm_advise(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice);

/* transaction, session; NULL for unknown */
extern const char *cpm_pool_mode_name(CpmPoolMode mode);

extern const char *cpm_feature_name(CpmFeature feature);

#endif							/* CPM_ADVICE_H */
