import { useCallback, useEffect, useEffectEvent, useMemo } from 'react';
import { useQuery } from 'urql';

import { firstGroups } from './firstQueries';
import { GroupsDocument, type GroupsQuery } from './generated/graphql';
import { useServices } from './services';
import { useStore } from './store';
import { texts } from './texts';

const MAX_PAGE = 100;

export type GroupNode = GroupsQuery['messageGroups']['nodes'][number];

/** The conversations, the one with the newest message first. */
export function useGroups() {
  const { live, client } = useServices();
  const [{ data, error, fetching }, reexecute] = useQuery({
    query: GroupsDocument,
    variables: firstGroups,
  });
  const connection = useStore(live.connection);
  const hasFailed = error !== undefined;
  useEffect(() => {
    if (hasFailed && connection === 'live') reexecute({ requestPolicy: 'network-only' });
  }, [hasFailed, connection, reexecute]);

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

  return {
    groups,
    error: groups ? undefined : error,
    fetching,
    hasMore: data?.messageGroups.pageInfo.hasNextPage ?? false,
    loadMore,
    retry: () => reexecute({ requestPolicy: 'network-only' }),
  };
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
