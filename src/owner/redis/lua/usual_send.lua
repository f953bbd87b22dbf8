-- The usual message: to the room, by a member, without a client id. It is sent before the script reads any other state of the
-- room. Each message that trims the log or does not continue it, and all other cases, take the general way.
do
  local connection, peer, message, message_rest, client_id = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
  if peer == '' and client_id == '' and not ARGV[10] then
    local v = call('HMGET', key, 'e', 's', 'n', 'z')
    local member = v[1] and call('HGET', key .. ':m', connection)
    local seq = v[1] and tonumber(v[2]) + 1
    local own = server()
    -- A member with data, or an observer, takes the general way. Quotation marks within texts are escaped.
    if member and string.find(member, '"da":', 1, true) then member = nil end
    if member and seq % TRIM_EVERY ~= 0 and v[4] and string.sub(v[4], 1, #own + 1) == own .. ':' then
      local n, generation = tonumber(v[3]) + 1, ',"z":' .. string.sub(v[4], #own + 2)
      local entry = '{"n":' .. n .. ',"seq":' .. seq .. ',"by":' .. member .. ',' .. message_rest
      local added = redis.pcall('XADD', key .. ':l', seq .. '-0', 'm', entry, 'i', message)
      if type(added) ~= 'table' then
        call('HSET', key, 's', seq, 'n', n, 'a', now)
        call('HSET', key .. ':i', message, seq)
        call(publish, key, '{"n":' .. n .. generation .. ',"o":"' .. origin .. '","t":' .. now .. ',"f":[["*' ..
          connection .. '",{"message":' .. entry .. '}]]}')
        return '{"n":' .. n .. generation .. ',"f":1,"d":0,"e":"' .. v[1] .. '","id":"' .. message .. '","seq":' .. seq ..
          ',"at":' .. now .. '}'
      end
    end
  end
end
