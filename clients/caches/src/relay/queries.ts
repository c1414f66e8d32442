// Relay's compiler reads these documents and writes `__generated__`. In an application a bundler replaces each tag by its artifact.
import { graphql } from 'relay-runtime';

export const GroupsQuery = graphql`
  query queriesGroupsQuery($count: Int!, $cursor: String) {
    ...queriesGroups_query
  }
`;

/** A refetchable fragment with a connection that pages forward, as `usePaginationFragment` needs it. */
export const GroupsFragment = graphql`
  fragment queriesGroups_query on Query @refetchable(queryName: "queriesGroupsPageQuery") {
    messageGroups(first: $count, after: $cursor) @connection(key: "queriesGroups_query_messageGroups") {
      edges {
        node {
          id
          participants {
            id
            displayName
          }
          lastMessage {
            id
            body
          }
        }
      }
      pageInfo {
        endCursor
      }
    }
  }
`;

export const MessagesQuery = graphql`
  query queriesMessagesQuery($group: UUID!, $count: Int!, $cursor: String) {
    ...queriesMessages_query
  }
`;

/** The same for a connection that pages backward, from the newest message. */
export const MessagesFragment = graphql`
  fragment queriesMessages_query on Query @refetchable(queryName: "queriesMessagesPageQuery") {
    messages(messageGroupUuid: $group, last: $count, before: $cursor)
      @connection(key: "queriesMessages_query_messages") {
      edges {
        node {
          id
          body
        }
      }
      pageInfo {
        startCursor
      }
    }
  }
`;

export const ViewerQuery = graphql`
  query queriesViewerQuery {
    me {
      id
      displayName
    }
  }
`;

export const SendMutation = graphql`
  mutation queriesSendMutation($input: CreateMessageInput!) {
    createMessage(input: $input) {
      message {
        id
      }
      messageGroup {
        id
        lastMessage {
          id
          body
        }
      }
    }
  }
`;
