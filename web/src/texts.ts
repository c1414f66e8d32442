// All texts of the user interface. To translate it, translate this file.

export const LANGUAGE = 'en';
/** The regional format of dates and times that the user prefers in this language. */
export const LOCALE = navigator.languages.find((tag) => tag.split('-')[0] === LANGUAGE) ?? LANGUAGE;

const counted = new Intl.PluralRules(LANGUAGE);

function plural(count: number, one: string, other: string): string {
  return counted.select(count) === 'one' ? one : other;
}

export const texts = {
  product: 'Cruddur Messages',
  title: (page: string | null, unread: number) =>
    `${unread > 0 ? `(${unread}) ` : ''}${page === null ? '' : `${page} · `}Cruddur Messages`,
  skipToContent: 'Skip to the conversation',

  time: {
    now: 'now',
    today: 'Today',
    yesterday: 'Yesterday',
  },

  account: {
    menu: (name: string) => `Account of ${name}`,
    signOut: 'Sign out',
    help: 'Keyboard shortcuts',
    confirmUnsent: (count: number) =>
      `${plural(count, 'A message has', `${count} messages have`)} not been sent yet. Sign out and delete ${plural(count, 'it', 'them')}?`,
  },

  groups: {
    heading: 'Messages',
    label: 'Conversations',
    newMessage: 'New message',
    loading: 'Loading conversations',
    more: 'Show older conversations',
    moreFailed: 'Older conversations could not be loaded. Try again',
    you: 'You: ',
    draft: 'Draft: ',
    typing: 'typing…',
    unread: (count: number) => `${count} unread ${plural(count, 'message', 'messages')}`,
    emptyTitle: 'No conversations yet',
    emptyText: 'Write to somebody by their handle. Your conversations appear here.',
    errorTitle: 'Conversations could not be loaded',
  },

  nothingOpen: {
    title: 'Select a conversation',
    text: 'Choose one from the list, or start a new one.',
  },

  conversation: {
    back: 'Back to the list',
    messages: (name: string) => `Messages with ${name}`,
    announcements: 'New messages',
    announce: (author: string, body: string) => `${author}: ${body}`,
    loading: 'Loading messages',
    loadingOlder: 'Loading older messages',
    olderFailed: 'Older messages could not be loaded.',
    start: (name: string) => `This is the start of your conversation with ${name}.`,
    unread: 'New messages',
    jump: 'Jump to newest',
    jumpCount: (count: number) => `Jump to newest (${count})`,
    typing: (name: string) => `${name} is typing`,
    typingShort: 'typing',
    missingTitle: 'Conversation not found',
    missingText: 'It does not exist, or you are not one of its participants.',
    errorTitle: 'Messages could not be loaded',
    you: 'You',
    says: (author: string, time: string) => `${author}, ${time}`,
    control: (code: string) => `Invisible control character ${code}`,
  },

  state: {
    sending: 'Sending',
    queued: 'Waiting for the connection',
    sent: 'Sent',
    read: 'Read',
    unknown: 'Not confirmed yet. Trying again…',
    failed: 'Not sent.',
    retry: 'Try again',
    retryNow: 'Try now',
    discard: 'Delete',
  },

  /** Reasons why the server rejects a message for ever. */
  failure: {
    message_exceed_max_chars: 'Not sent: the message is too long.',
    message_blank: 'Not sent: the message is empty.',
    recipient_not_found: 'Not sent: this user no longer exists.',
    recipient_changed: 'Not sent: this handle now belongs to somebody else.',
    recipient_is_self: 'Not sent: you cannot write to yourself.',
    too_old: 'Not confirmed: it may have been sent long ago.',
    idempotency_key_reused: 'Not sent: the message was changed after it had been sent.',
  } as Readonly<Record<string, string>>,

  composer: {
    label: (name: string) => `Message to ${name}`,
    placeholder: 'Write a message',
    send: 'Send',
    remaining: (count: number) => `${count} ${plural(count, 'character', 'characters')} left`,
    over: (count: number) => `${count} ${plural(count, 'character', 'characters')} too many`,
    hint: 'Enter sends, Shift+Enter starts a new line.',
  },

  newMessage: {
    heading: 'New message',
    intro: 'Who would you like to write to?',
    label: 'Handle',
    placeholder: 'handle',
    submit: 'Continue',
    hint: 'Handles are exact, for example “ben”.',
    loading: 'Looking for this handle',
    notFoundTitle: (handle: string) => `Nobody has the handle @${handle}`,
    notFoundText: 'Check the spelling. Handles can change, so it may have a new one.',
    selfTitle: 'This is you',
    selfText: 'You cannot send messages to yourself. Choose another handle.',
    tryAnother: 'Choose another handle',
    startTitle: (name: string) => `Say hello to ${name}`,
    startText: 'Your first message starts the conversation.',
    errorTitle: 'The handle could not be looked up',
  },

  connection: {
    offline: 'You are offline. Messages are sent when you are back.',
    reconnecting: 'Connecting…',
  },

  errors: {
    unreachable: 'The server cannot be reached.',
    unavailable: 'The service is not available at the moment.',
    retry: 'Try again',
    crashTitle: 'This page has stopped working',
    crashText: 'Your drafts and unsent messages are safe. Load the page again to continue.',
    reload: 'Load again',
    notFoundTitle: 'Page not found',
    notFoundText: 'There is nothing at this address.',
    toMessages: 'Go to your messages',
  },

  signIn: {
    working: 'Signing in',
    leaving: 'Signing out',
    button: 'Sign in',
    again: 'Sign in again',
    expiredTitle: 'Your session has ended',
    expiredText: 'Sign in again to continue where you were. Your drafts are still here.',
    failedTitle: 'You are not signed in',
    failedText: 'The sign-in was not completed.',
    signedOutTitle: 'You are signed out',
    signedOutText: 'See you soon.',
    unreachableTitle: 'The server cannot be reached',
    unreachableText: 'Check your connection. This page tries again by itself.',
    storageTitle: 'Your browser stores nothing for this site',
    storageText: 'Signing in needs it. Allow cookies and site data for this site in the settings of your browser.',
  },

  /** The user is signed in, but the service has no user for the account. */
  notRegistered: {
    handle_taken: {
      title: 'Your user name is taken here',
      text: 'You are signed in, but somebody else already uses the user name of your account as their handle.',
      advice: 'Ask the operator of this service to change the user name of your account, then try again.',
    },
    handle_missing: {
      title: 'Your account has no user name',
      text: 'You are signed in, but the profile of your account has no user name that can be your handle.',
      advice: 'Ask the operator of this service to set a user name for your account, then try again.',
    },
    profile_refused: {
      title: 'Your profile cannot be read',
      text: 'You are signed in, but this service is not permitted to read the profile of your account.',
      advice: 'Contact the operator of this service.',
    },
    user_unknown: {
      title: 'Your account is not registered',
      text: 'You are signed in, but this service has no user for your account.',
      advice: 'Contact the operator of this service, or use another account.',
    },
    otherAccount: 'Use another account',
  },

  help: {
    heading: 'Keyboard shortcuts',
    close: 'Close',
    keys: [
      [['Enter'], 'Send the message'],
      [['Shift', 'Enter'], 'Start a new line'],
      [['Alt', '↓'], 'Next conversation'],
      [['Alt', '↑'], 'Previous conversation'],
      [['Alt', 'N'], 'New message'],
      [['Alt', 'End'], 'Jump to the newest message'],
      [['↑', '↓'], 'Move in the list of conversations'],
      [['PgUp', 'PgDn'], 'Scroll the messages, when they have the focus'],
      [['Esc'], 'From the message to the list, or close'],
      [['Ctrl', '/'], 'Show this help'],
    ] as readonly (readonly [readonly string[], string])[],
  },
} as const;
