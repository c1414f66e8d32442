import { useCallback, useEffect, useEffectEvent, useMemo, useState } from 'react';
import { useQuery, type AnyVariables, type UseQueryArgs } from 'urql';

import { firstGroups } from './firstQueries';
import { GroupsDocument } from './generated/graphql';
import { useServices } from './services';
import { useStore } from './store';
import { texts } from './texts';

const MAX_PAGE = 100;
const RETRY_MS = 10_000;

/**
 * A query that runs again if it has failed: at once when the client connects, and later while it is connected. `retry` runs it
 * again at once. While there is data, a failure is not an error: the data is only older.
 * If the variables change, the hook keeps the earlier data until the new data arrives. Therefore, give the component a `key`.
 */
export function useLoaded<Data, Variables extends AnyVariables>(query: UseQueryArgs<Variables, Data>) {
  const { live } = useServices();
  const [{ data: newest, error, fetching }, reexecute] = useQuery(query);
  // The result of a failed query has no data, even if the query was successful before.
  const [data, setData] = useState(newest);
  if (newest && newest !== data) setData(newest);
  // While the query is repeated, it has no error. The page keeps showing the last one, so that it does not flicker.
  const [lastError, setLastError] = useState(error);
  if (error && error !== lastError) setLastError(error);

  const isLive = useStore(live.connection) === 'live';
  const hasFailed = error !== undefined;
  const retry = useCallback(() => reexecute({ requestPolicy: 'network-only' }), [reexecute]);
  const onLive = useEffectEvent(() => {
    if (hasFailed) retry();
  });
  useEffect(() => {
    if (isLive) onLive();
  }, [isLive]);
  // Not at once: the server can reject the query again and again, although the client is connected.
  useEffect(() => {
    const timer = hasFailed && isLive ? setTimeout(retry, RETRY_MS) : undefined;
    return () => clearTimeout(timer);
  }, [hasFailed, isLive, retry]);
  return { data, error: data ? undefined : lastError, fetching, retry };
}

/** The conversations, the one with the newest message first. */
export function useGroups() {
  const { client } = useServices();
  const { data, error, retry } = useLoaded({ query: GroupsDocument, variables: firstGroups });

  const nodes = data?.messageGroups.nodes;
  const groups = useMemo(
    () => nodes && [...nodes].sort((a, b) => (a.lastMessageAt < b.lastMessageAt ? 1 : -1)),
    [nodes],
  );

  const endCursor = data?.messageGroups.pageInfo.endCursor ?? null;
  const loadMore = useCallback(async () => {
    const result = await client.query(GroupsDocument, { ...firstGroups, after: endCursor }).toPromise();
    return result.error === undefined;
  }, [client, endCursor]);

  return { groups, error, hasMore: data?.messageGroups.pageInfo.hasNextPage ?? false, loadMore, retry };
}

/** Queries the unread counts again whenever changes may have been missed. */
export function useGroupsResync(): void {
  const { live, client } = useServices();
  const { groups } = useGroups();
  const resyncs = useStore(live.resyncs);
  const queryAgain = useEffectEvent(() => {
    const first = Math.min(Math.max(groups?.length ?? 0, firstGroups.first), MAX_PAGE);
    void client.query(GroupsDocument, { first }, { requestPolicy: 'network-only' }).toPromise();
  });
  useEffect(() => {
    if (resyncs > 0) queryAgain();
  }, [resyncs]);
}

/** Sets the title of the page: the number of unread messages, and what is open. */
export function useTitle(page: string | null): void {
  const { groups } = useGroups();
  const unread = groups?.reduce((sum, group) => sum + group.unreadCount, 0) ?? 0;
  useEffect(() => {
    document.title = texts.title(page, unread);
  }, [page, unread]);
}
