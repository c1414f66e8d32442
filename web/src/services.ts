// The objects that live as long as somebody is signed in.

import type { Client } from '@urql/core';
import { createContext, use } from 'react';

import { createApi, failureOf } from './api';
import { session } from './auth';
import { serverNow } from './clock';
import { Drafts } from './drafts';
import { queryAhead } from './firstQueries';
import { CreateMessageDocument } from './generated/graphql';
import { Live } from './live';
import { Outbox, UNREACHABLE, type SendResult } from './outbox';
import { ReadMarks } from './readMarks';
import { createEmitter, createStore, type Emitter } from './store';

interface Services {
  userId: string;
  client: Client;
  live: Live;
  outbox: Outbox;
  drafts: Drafts;
  readMarks: ReadMarks;
  /** The first message to a handle has created this message group. */
  started: Emitter<{ handle: string; messageGroupUuid: string }>;
  /** Starts the live connection after the responses of the first queries, so that it does not delay them. */
  startLive: () => void;
  stop: () => void;
}

const ServicesContext = createContext<Services | null>(null);
export const ServicesProvider = ServicesContext.Provider;

export function useServices(): Services {
  const services = use(ServicesContext);
  if (!services) throw new Error('no services: nobody is signed in');
  return services;
}

/** The services of the signed-in user. */
export const runningServices = createStore<Services | null>(null);

/** Starts the services when a user signs in, and stops them when the session ends. */
export function followSession(): void {
  session.subscribe(() => {
    const current = session.get();
    const userId = current.kind === 'signedIn' ? current.userId : undefined;
    const running = runningServices.get();
    if (running?.userId === userId) return;
    running?.stop();
    runningServices.set(userId === undefined ? null : startServices(userId));
  });
}

function startServices(userId: string): Services {
  const client = createApi();
  const live = new Live(client, userId);
  const drafts = new Drafts(userId);
  const readMarks = new ReadMarks(client);
  const started = createEmitter<{ handle: string; messageGroupUuid: string }>();
  const outbox = new Outbox({
    userId,
    now: serverNow,
    isOnline: () => live.connection.get() !== 'offline',
    send: async ({ to, body, key, recipientUuid }): Promise<SendResult> => {
      const input = { to, body, idempotencyKey: key, recipientUuid };
      const { data, error } = await client.mutation(CreateMessageDocument, { input }).toPromise();
      if (data) {
        const { uuid, messageGroupUuid } = data.createMessage.message;
        return { ok: true, messageUuid: uuid, messageGroupUuid };
      }
      return error ? { ok: false, failure: failureOf(error) } : UNREACHABLE;
    },
    onSent: ({ to }, { messageGroupUuid }) => {
      if ('handle' in to) {
        drafts.move(`@${to.handle}`, messageGroupUuid);
        started.emit({ handle: to.handle, messageGroupUuid });
      }
    },
  });

  const listeners = new AbortController();
  const { signal } = listeners;
  const onStored = (key: string | null) => {
    outbox.onStored(key);
    drafts.onStored(key);
  };
  addEventListener('storage', ({ key }) => onStored(key), { signal });
  live.connection.subscribe(() => outbox.flush());
  live.added.on(({ message, messageGroup }) => {
    if (message.author.uuid !== messageGroup.otherParticipant.uuid) outbox.seen(message.id, messageGroup, message.body);
  });
  const firstResponses = queryAhead(client, location.pathname);
  const startLive = () => void firstResponses.then(() => live.start());
  outbox.flush();

  const stop = () => {
    listeners.abort();
    live.stop();
    outbox.stop();
    readMarks.stop();
  };
  return { userId, client, live, outbox, drafts, readMarks, started, startLive, stop };
}
