-- What the scripts of rooms share. Of a room there are
--   K       a hash: e epoch, b its first epoch, s number of the last message, n number of the last facts, m 1 if made on
--           purpose, v 1 if private, x members it takes, y 1 or 0 for its messages being kept or not, km and ka how
--           many and how long, a when something last happened, c when it was made, h its host, hu the host's id, hg 1
--           if a guest, pf its profile, o how many have come so far, k members that speak Socket.IO, u and w 1 if the
--           count of members or of users is to be told, z the Redis server that keeps it and how many have before, with
--           a "?" in between while nodes are awaited, or else a ":", zt since when they are, zn1, zn2... the number of
--           the last facts there when the next server took over
--   K:m     a hash: members by connection            K:p   a hash: connections by the peer ids they chose
--   K:l     a stream: messages, by number            K:i   a hash: numbers of messages by id
--   K:f     a stream: other facts, by number         K:t   a hash: who types, by connection
--   K:a     a sorted set: participants               K:x   there was a room, and it was closed a moment ago
--   K:k:id  a hash: who received and read a message  K:c:h a repeatable message
--   K:z     a set: nodes that have not said yet what they know of it
-- ARGV[4] are the rules: announce limit, members a room takes, 1 if messages are kept, how many, for how long.
local M, P, L, I, T, A = K .. ':m', K .. ':p', K .. ':l', K .. ':i', K .. ':t', K .. ':a'
local JOINED_IDLE, MADE_IDLE, CLOSED, AWAITED = 60000, 86400000, 60000, 5000
local RECENT, TYPISTS, SERVERS = 1000, 1000, 16
local announce, takes, keeps, keep, keep_ms
do
  local rules = {}
  for rule in string.gmatch(ARGV[4], '%d+') do rules[#rules + 1] = tonumber(rule) end
  announce, takes, keeps, keep, keep_ms = rules[1], rules[2], rules[3], rules[4], rules[5]
end
local room, facts, due = nil, {}, 0

-- A refusal. It names the room's epoch, so that whoever knows another one finds out.
local function refuse(why)
  return '{"x":"' .. why .. '"' .. (room and ',"e":"' .. room.e .. '","z":' .. room.zi or '') .. '}'
end

-- Everything of a room that may end.
local function each(command, ...)
  for _, part in ipairs({'', ':m', ':p', ':l', ':i', ':f', ':t', ':a', ':z'}) do call(command, K .. part, ...) end
end

-- How long the room may be empty before it ends; 0: for ever.
local function idle_ms()
  if room.made then return MADE_IDLE end
  if room.kept and room.s > 0 then return room.ka > 0 and math.max(room.ka, JOINED_IDLE) or 0 end
  return JOINED_IDLE
end

-- The room may go on at this server.
local function settle()
  call('HSET', K, 'z', server() .. ':' .. room.zi)
  call('HDEL', K, 'zt')
  call('DEL', K .. ':z')
end

-- Whether the room may go on. A server that has taken it over may not have all that the former one had told, and would
-- give the same numbers again: first the nodes that have members say what they know; see `since`.
local function is_settled(keeper)
  local own = server()
  local name, is_awaiting, number = string.match(keeper or '', '^(%w*)([:?])(%d+)$')
  room.zi = tonumber(number or 0)
  if name == own and is_awaiting == ':' then return true end
  local time = call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000)
  if name ~= own then
    room.zi = room.zi + 1
    call('DEL', K .. ':z')
    for _, text in ipairs(call('HVALS', M)) do call('SADD', K .. ':z', cjson.decode(text).q) end
    call('HSET', K, 'z', own .. '?' .. room.zi, 'zt', ms, 'zn' .. room.zi, room.n)
    call('HDEL', K, 'zn' .. room.zi - SERVERS)
  end
  if call('SCARD', K .. ':z') > 0 and ms - call('HGET', K, 'zt') < AWAITED then return false end
  settle()
  return true
end

-- Reads the room; why that is not possible. A room that rests is there for those who wake it. Who `knows` the room may say
-- so although it is not settled.
local function open(wakes, knows)
  local v = call('HMGET', K, 'e', 's', 'n', 'm', 'v', 'x', 'y', 'km', 'ka', 'a', 'hu', 'hg', 'k', 'z')
  if not v[1] then
    return now < tonumber(call('GET', K .. ':x') or 0) and 'room_closed' or 'room_not_found'
  end
  room = {
    e = v[1], s = tonumber(v[2]), n = tonumber(v[3]), made = v[4] == '1', private = v[5] == '1', x = tonumber(v[6]),
    y = v[7], km = v[8] ~= '' and tonumber(v[8]) or keep, ka = v[9] ~= '' and tonumber(v[9]) or keep_ms,
    hu = v[11], hg = v[12], k = tonumber(v[13])
  }
  if not is_settled(v[14]) and not knows then return 'unsettled' end
  room.kept = (room.y == '' and keeps == 1) or room.y == '1'
  local idle = now - tonumber(v[10])
  if idle >= JOINED_IDLE and call('HLEN', M) == 0 then
    local ms = idle_ms()
    if ms > 0 and idle >= ms then
      each('DEL')
    elseif room.made or wakes then
      return
    end
    room = nil
    return 'room_not_found'
  end
end

-- Something was done in the room.
local function touch()
  call('HSET', K, 'a', now)
end

-- Nobody is in the room: it ends, or rests, when nobody has come for long enough.
local function rest()
  if call('HLEN', M) > 0 then return end
  local ms = idle_ms()
  if ms > 0 then each('PEXPIRE', ms) else each('PERSIST') end
end

-- Tells somebody: "*" and a connection for all members but that one, "@" and a connection, "u" and a user.
local function tell(audience, event)
  facts[#facts + 1] = '[' .. cjson.encode(audience) .. ',' .. event .. ']'
end

-- The end of every script: what became known gets a number and is published; the answer.
local function done(answer, is_light)
  local has = 0
  if #facts > 0 then
    local n = 0
    if not is_light then
      n = call('HINCRBY', K, 'n', 1)
      room.n, has = n, 1
    end
    local body = '{"n":' .. n .. ',"z":' .. room.zi .. ',"o":"' .. origin .. '","t":' .. now .. ',"f":[' ..
      table.concat(facts, ',') .. ']}'
    if not is_light then call('XADD', K .. ':f', 'MAXLEN', '~', 512, n .. '-0', 'b', body) end
    call(publish, K, body)
  end
  return '{"n":' .. room.n .. ',"z":' .. room.zi .. ',"f":' .. has .. ',"d":' .. due .. ',"e":"' .. room.e .. '",' ..
    answer .. '}'
end

-- Something for one connection outside the room's order, by the channel of its node.
local function hand(seat, event)
  local prefix = string.match(K, '^(.-):room:{')
  local body = '{"r":' .. cjson.encode(K) .. ',"t":' .. now .. ',"f":[["@' .. seat.c .. '",' .. event .. ']]}'
  call('PUBLISH', prefix .. ':node:{' .. seat.q .. '}', body)
end

local function seat_of(connection)
  local text = call('HGET', M, connection)
  if text then return cjson.decode(text), text end
end

-- The member that goes by a name: one that chose it, or one whose connection's id it is.
local function named(name)
  local connection = call('HGET', P, name)
  if connection then return seat_of(connection) end
  local seat, text = seat_of(name)
  if seat and seat.p == '' then return seat, text end
end

local function name_of(seat)
  return seat.p ~= '' and seat.p or seat.c
end

local function write(seat)
  local text = cjson.encode(seat)
  call('HSET', M, seat.c, text)
  return text
end

local function count_peers(by)
  if by ~= 0 then room.k = call('HINCRBY', K, 'k', by) end
end

-- Members came or went: whether the rest is told how many there are, or how many users.
local function note_uncounted()
  call('HSET', K, 'u', 1)
  if due % 2 == 0 then due = due + 1 end
end

local function note_online()
  if room.k > 0 then
    call('HSET', K, 'w', 1)
    if due < 2 then due = due + 2 end
  else
    call('HDEL', K, 'w')
  end
end

-- A connection types no longer, if it did.
local function stop_typing(connection, except)
  local typed = call('HGET', T, connection)
  if not typed then return end
  call('HDEL', T, connection)
  local who = cjson.decode(typed).w
  for _, other in ipairs(call('HVALS', T)) do
    if cjson.decode(other).w[1] == who[1] then return end
  end
  tell('*' .. except, '{"typing":{"w":' .. cjson.encode(who) .. ',"on":0}}')
end

-- Ends a membership and tells the others.
local function leave(seat, text)
  local was_announced = call('HLEN', M) <= announce
  stop_typing(seat.c, seat.c)
  call('HDEL', M, seat.c)
  if seat.p ~= '' then call('HDEL', P, seat.p) end
  count_peers(-seat.k)
  if was_announced then
    tell('*' .. seat.c, '{"left":' .. text .. '}')
    note_online()
  else
    note_uncounted()
  end
end

-- A member's connection gives its place to another one, which is of the node and kind of `to`.
local function move(seat, to)
  call('HDEL', M, seat.c)
  if seat.p == '' then seat.p = seat.c end
  count_peers(to.k - seat.k)
  seat.c, seat.q, seat.k = to.c, to.q, to.k
  call('HSET', P, seat.p, seat.c)
end

local function is_host(user, admin)
  return admin == '1' or user == room.hu
end

-- Whether somebody may join.
local function admits(user, admin)
  return not room.private or is_host(user, admin) or call('ZSCORE', A, user)
end

-- A member's first view of the room.
local function joined(seat, own)
  local count = call('HLEN', M)
  local list = {}
  local texts
  if count <= 2 * announce + 1 then
    texts = call('HVALS', M)
  else
    texts = {}
    for at, text in ipairs(call('HRANDFIELD', M, announce + 1, 'WITHVALUES')) do
      if at % 2 == 0 then texts[#texts + 1] = text end
    end
  end
  for _, text in ipairs(texts) do
    if text ~= own then list[#list + 1] = text end
  end
  return '"p":' .. cjson.encode(seat.p) .. ',"c":' .. count .. ',"s":' .. room.s .. ',"l":[' .. table.concat(list, ',') .. ']'
end

-- Somebody who is no member yet becomes one.
local function enter(seat)
  seat.o = call('HINCRBY', K, 'o', 1)
  local text = write(seat)
  if seat.p ~= '' then call('HSET', P, seat.p, seat.c) end
  count_peers(seat.k)
  local count = call('HLEN', M)
  if count == 1 then each('PERSIST') end
  if count > announce then
    note_uncounted()
  else
    tell('*' .. seat.c, '{"joined":' .. text .. '}')
    note_online()
  end
  return joined(seat, text)
end

-- The connection of `seat` takes over the membership that its user already has under its name.
local function take_over(taken, seat)
  local own, own_text = seat_of(seat.c)
  if own and own.c ~= taken.c then
    local name = name_of(taken)
    leave(own, own_text)
    taken = named(name)
    if not taken then return enter(seat) end
  end
  local former = taken.c
  if former ~= seat.c then
    move(taken, seat)
    stop_typing(former, seat.c)
    tell('@' .. former, '{"out":"replaced"}')
  end
  local is_other = taken.v ~= seat.v
  taken.w, taken.d, taken.v = seat.w, seat.d, seat.v
  local text = write(taken)
  if is_other then tell('*' .. seat.c, '{"media":' .. text .. '}') end
  return joined(taken, text)
end

-- Makes a connection a member: its view of the room, or nothing and why not.
local function join(seat, admin)
  if not admits(seat.w[1], admin) then return nil, 'private' end
  local taken = named(seat.p ~= '' and seat.p or seat.c)
  if taken then
    if taken.w[1] ~= seat.w[1] then return nil, 'peer_id_taken' end
    return take_over(taken, seat)
  end
  local own, own_text = seat_of(seat.c)
  if own then leave(own, own_text) end
  local max = room.made and room.x or takes
  if max ~= 0 and call('HLEN', M) >= max then return nil, 'room_full' end
  return enter(seat)
end

-- Some of the log: what comes after a number, or the newest.
local function page(after, limit)
  local answer = '"s":' .. room.s .. ',"l":['
  if not room.kept or room.s == 0 then return answer .. '],"c":' .. (room.s == 0 and 1 or 0) end
  if room.ka > 0 then
    -- What is too old is there no longer, whether or not it has been taken out.
    local oldest = call('XRANGE', L, '-', '+', 'COUNT', 1)[1]
    while oldest and cjson.decode(oldest[2][2]).at + room.ka <= now do
      call('XDEL', L, oldest[1])
      call('HDEL', I, oldest[2][4])
      oldest = call('XRANGE', L, '-', '+', 'COUNT', 1)[1]
    end
  end
  local entries
  if after then
    entries = call('XRANGE', L, string.format('%d-0', after + 1), '+', 'COUNT', limit + 1)
  else
    entries = call('XREVRANGE', L, '+', '-', 'COUNT', limit + 1)
  end
  local list, bytes, complete = {}, 0, 1
  for at, entry in ipairs(entries) do
    local text = entry[2][2]
    bytes = bytes + #text
    if at > limit or (bytes > 1048576 and at > 1) then
      complete = 0
      break
    end
    list[at] = text
  end
  if not after then
    for at = 1, math.floor(#list / 2) do list[at], list[#list + 1 - at] = list[#list + 1 - at], list[at] end
  end
  local first = call('XRANGE', L, '-', '+', 'COUNT', 1)[1]
  local kept_from = first and tonumber(string.match(first[1], '^%d+')) or room.s + 1
  if kept_from > (after or 0) + 1 then complete = 0 end
  return answer .. table.concat(list, ',') .. '],"c":' .. complete
end

-- The room as an onlooker sees it, with its members or without.
local function view(with_members)
  local v = call('HMGET', K, 'hu', 'c', 'a', 'pf')
  local list = {}
  if with_members then
    list = call('HVALS', M)
  end
  local participants = {}
  for at, user in ipairs(call('ZRANGE', A, 0, -1)) do participants[at] = cjson.encode(user) end
  return '"h":' .. cjson.encode(v[1]) .. ',"c":' .. v[2] .. ',"a":' .. v[3] .. ',"pf":' .. (v[4] or 'null') .. ',"k":' ..
    call('HLEN', M) .. ',"pa":[' .. table.concat(participants, ',') .. '],"l":[' .. table.concat(list, ',') .. ']'
end

-- Makes the room.
local function make(epoch, host, user, guest, made)
  room = {e = epoch, s = 0, n = 0, made = made, private = false, x = 0, y = '', km = keep, ka = keep_ms, hu = user,
    hg = guest, k = 0, zi = 0, kept = keeps == 1}
  call('HSET', K, 'e', epoch, 's', 0, 'n', 0, 'm', made and 1 or 0, 'v', 0, 'x', 0, 'y', '', 'km', '', 'ka', '', 'a',
    now, 'c', now, 'h', host, 'hu', user, 'hg', guest, 'o', 0, 'k', 0, 'z', server() .. ':0', 'b', epoch)
end
