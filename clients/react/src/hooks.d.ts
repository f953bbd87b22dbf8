// Types of the React hooks for switchboard.js.

import type { ReactElement, ReactNode } from "react";
import type { AnyEvents, Call, CallOptions, JoinOptions, Member, Message, MessageOptions, Room, Sent, Status, Switchboard } from "switchboard-client";

export function SwitchboardProvider(props: { client: Switchboard; children?: ReactNode }): ReactElement;
export function useClient(): Switchboard | null;
export function useRoom<E extends object = AnyEvents>(roomId: string | null | undefined, options?: JoinOptions, client?: Switchboard): Room<E> | null;
export function usePresence(room: Room<any> | null, client?: Switchboard): (Member & { status: Status })[];
export function useTyping(room: Room<any> | null): { names: string[]; typing: (isTyping?: boolean) => void };

export type ShownMessage<T = unknown> = Partial<Message<T>> & {
  id: string;
  event: string;
  data: T;
  isOwn?: boolean;
  isPending?: boolean;
  error?: Error;
};

export function useMessages<E extends object = AnyEvents>(
  room: Room<E> | null,
  options?: { limit?: number },
): {
  messages: ShownMessage<E[keyof E & string]>[];
  publish: {
    (content: "message" extends keyof E ? E["message"] : string): Promise<Sent>;
    <K extends keyof E & string>(event: K, data: E[K], options?: MessageOptions): Promise<Sent>;
  };
  error: Error | null;
};

export function useCall(
  room: Room<any> | null,
  options?: CallOptions,
): { call: Call | null; peers: { peerId: string; state: RTCPeerConnectionState; stream?: MediaStream }[] };
