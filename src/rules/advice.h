/* SPDX-License-Identifier: PostgreSQL */
/*
 * advice.h
 *		Recommends a pool's size and pooling mode.
 */
#ifndef CPM_ADVICE_H
#define CPM_ADVICE_H

#include "base/busy.h"
#include "base/pool.h"
#include "base/pooler.h"

/*
 * Below these numbers, recommend no size, because a 99th percentile needs hundreds of samples, and
 * do not recommend transaction mode. Session mode needs only a single use of a feature.
 */
#define CPM_ADVICE_SAMPLES 300
#define CPM_ADVICE_TRANSACTIONS 100

#define CPM_MAX_REASONS 12
#define CPM_REASON_SIZE 240

/* The observations of a pool, its server and its pooler. */
typedef struct CpmPoolEvidence
{
	const CpmPool *pool;
	bool		is_mixed;		/* the pool "(other)", which merges several applications */
	CpmBusy		busy;			/* all zero if nothing was observed */
	int			processors;		/* 0 if unknown */
	int			usable_slots;
	int			recommended_total;	/* sum of the sizes recommended for all pools; 0 if unknown */
	int			pooled;			/* number of the pool's connections that come through poolers */
	const char *pooler;			/* name of the pooler with the most of them; NULL if none */
	const CpmPoolerAnswer *answer;	/* last answer of its console; NULL if none */
} CpmPoolEvidence;

typedef enum CpmPoolMode
{
	CPM_MODE_UNKNOWN,
	CPM_MODE_TRANSACTION,
	CPM_MODE_SESSION
} CpmPoolMode;

typedef struct CpmPoolAdvice
{
	uint32		p50;			/* percentiles of busy connections; 0 without samples */
	uint32		p95;
	uint32		p99;
	int			size;			/* recommended connections; 0 if too little was observed */
	CpmPoolMode mode;
	unsigned int features;		/* bits, by CpmFeature, of features that were used */
	int			reasons;		/* number of entries in reason */
	char		reason[CPM_MAX_REASONS][CPM_REASON_SIZE];
} CpmPoolAdvice;

/* Recommend a size and a mode, with reasons. Pure. */
extern void cpm_advise(const CpmPoolEvidence *evidence, CpmPoolAdvice *advice);

/* Return "transaction" or "session"; NULL if unknown. */
extern const char *cpm_pool_mode_name(CpmPoolMode mode);

/* Return the feature's name as views show it. */
extern const char *cpm_feature_name(CpmFeature feature);

#endif							/* CPM_ADVICE_H */
